"""grpc.aio answering every ModelInfer with the same bytes, without any of our code: the limit of a Python front end."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc

from headstock.oip import open_inference_grpc_pb2 as oip


def main() -> None:
    """Serve until SIGTERM; the one argument says how many floats an answer has."""
    raw = bytes(4 * int(sys.argv[1]))
    answer = oip.ModelInferResponse(raw_output_contents=[raw]).SerializeToString()

    async def infer(_: bytes, __: Any) -> bytes:
        return answer

    async def run() -> None:
        server = grpc.aio.server()
        handlers = {"ModelInfer": grpc.unary_unary_rpc_method_handler(infer)}
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers)]
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        print(f"listening on 127.0.0.1:{port}", flush=True)
        await server.wait_for_termination()

    asyncio.run(run())


if __name__ == "__main__":
    main()
