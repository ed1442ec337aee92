"""Front ends: what the engine's process spends on a request of a model that costs nothing, alone and behind processes
that speak gRPC for it.

The CPU time of the engine's process per answer is its ceiling on one core: what front ends take off it is what more of
them can scale to. The bare figure is grpc.aio answering the same bytes without any of our code. On a machine with two
cores the load, the front ends and the engine share them, so rates by the clock say little and are not compared.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil

from _common import closed_loop, median, pin_load, report, serve, verdict
from headstock.catalogue import Catalogue
from headstock.oip import open_inference_grpc_pb2 as oip
from headstock.settings import Settings
from headstock.testing.toy import ToyHead, publish_toy

COUNTS, ROUNDS, SECONDS, CALLERS = (0, 1, 2), 5, 2.0, 32
FLOATS = 384


def main() -> int:
    """Measure, print, return 0 if front ends leave the engine less than half of the work."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.from_environment({"HEADSTOCK_HOME": folder})
        with Catalogue.open(settings) as catalogue:
            publish_toy(catalogue, {"noop": ToyHead(labels=(), out=FLOATS, seed=1)})
        request = _request()
        spent: dict[str, list[float]] = {"bare": [], **{str(count): [] for count in COUNTS}}
        rate: dict[str, list[float]] = {name: [] for name in spent}
        pin_load()
        for _ in range(ROUNDS):
            for count in COUNTS:
                with serve(Path(folder), "--front-ends", str(count)) as server:
                    engine = psutil.Process(server.process.pid)
                    _measure(server.address, engine, request, spent[str(count)], rate[str(count)])
            _bare(request, spent["bare"], rate["bare"])
    ms = {name: 1000 * median(values) for name, values in spent.items()}
    gain = median([none / some for none, some in zip(spent["0"], spent["1"], strict=True)])
    report(
        f"a model of {FLOATS} floats that costs nothing, {CALLERS} callers",
        ["front ends", "engine CPU ms/answer", "answers/s the engine's core could give", "answers/s seen here"],
        [[n, f"{ms[n]:.3f}", f"{1000 / ms[n]:.0f}", f"{median(rate[n]):.0f}"] for n in ms],
        {"engine_cpu_ms": ms, "ceiling_gain": gain, "rate": {name: median(values) for name, values in rate.items()}},
    )
    return 0 if verdict("answers per engine CPU second, 1 front end / none", gain, 1.5) else 1


def _request() -> bytes:
    request = oip.ModelInferRequest(model_name="noop")
    request.inputs.add(name="text", datatype="BYTES", shape=[1])
    request.raw_input_contents.append(len(b"hi").to_bytes(4, "little") + b"hi")
    data: bytes = request.SerializeToString()
    return data


def _measure(address: str, process: psutil.Process, request: bytes, spent: list[float], rate: list[float]) -> None:
    closed_loop(address, [request], CALLERS, 0.5)
    before = process.cpu_times()
    load = closed_loop(address, [request], CALLERS, SECONDS, warmup=0.0)
    after = process.cpu_times()
    if load.errors:
        raise SystemExit(f"{load.errors} requests failed")
    spent.append((after.user + after.system - before.user - before.system) / load.answers)
    rate.append(load.rate)


def _bare(request: bytes, spent: list[float], rate: list[float]) -> None:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_echo, args=(theirs,))
    process.start()
    _measure(f"127.0.0.1:{ours.recv()}", psutil.Process(process.pid), request, spent, rate)
    process.terminate()
    process.join()


def _echo(pipe: Any) -> None:
    """A grpc.aio server that answers every ModelInfer with the same bytes."""
    os.sched_setaffinity(0, {0})
    answer = oip.ModelInferResponse(raw_output_contents=[np.zeros(FLOATS, "<f4").tobytes()]).SerializeToString()

    async def infer(_: bytes, __: Any) -> bytes:
        return answer

    async def run() -> None:
        server = grpc.aio.server()
        handlers = {"ModelInfer": grpc.unary_unary_rpc_method_handler(infer)}
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers)]
        )
        pipe.send(server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        await server.wait_for_termination()

    asyncio.run(run())


if __name__ == "__main__":
    sys.exit(main())
