"""nvidia-pytriton's side of `peers.py`: binds what its one argument of JSON names, as its users do, and serves."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
from session import Session

CLASSES, FLOATS = 10, 384


def main() -> None:
    """Serve until SIGTERM."""
    asked = json.loads(sys.argv[1])
    hosts = {f"{door}_address": "127.0.0.1" for door in ("grpc", "http", "metrics")}
    config = ModelConfig(max_batch_size=32, batcher=DynamicBatcher(max_queue_delay_microseconds=0))
    with Triton(config=TritonConfig(**hosts, **asked["ports"])) as triton:
        for name, files in asked["models"].items():
            triton.bind(name, _classify(Session(**files)), _tokens(), [Tensor(name="logits", dtype=np.float32,
                        shape=(CLASSES,))], config=config)  # fmt: skip
        floats = [Tensor(name="floats", dtype=np.float32, shape=(FLOATS,))]
        triton.bind("identity", batch(lambda floats: {"floats": floats}), floats, floats, config=config)
        triton.serve()


def _classify(session: Session) -> Any:
    @batch  # type: ignore[untyped-decorator]
    def infer(input_ids: np.ndarray, attention_mask: np.ndarray) -> dict[str, np.ndarray]:
        return {"logits": session(input_ids, attention_mask)}

    return infer


def _tokens() -> list[Tensor]:
    return [Tensor(name=name, dtype=np.int64, shape=(-1,)) for name in ("input_ids", "attention_mask")]


if __name__ == "__main__":
    main()
