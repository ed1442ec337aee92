"""What the benchmarks share: a server and a bare ONNX Runtime on core 0, a load on core 1, tables and ratios.

Every figure that is reported is a ratio of two things measured in the same run, in alternating windows: the machines
that run these are shared, and absolute figures move by a factor of two within minutes.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil

from headstock.oip import open_inference_grpc_pb2 as oip

HEADSTOCK = str(Path(sys.executable).with_name("headstock"))
INFER = "/inference.GRPCInferenceService/ModelInfer"
SERVER_CORE, LOAD_CORE = 0, 1


def environment() -> dict[str, str]:
    """Hardware and versions, to stand beside every figure."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "?",
    )
    return {
        "cpu": cpu,
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        **{name: version(name) for name in ("onnxruntime", "grpcio", "protobuf", "numpy")},
    }


def pin(core: int) -> Callable[[], None]:
    """A `preexec_fn` that keeps a child process on one core."""
    return lambda: os.sched_setaffinity(0, {core % (os.cpu_count() or 1)})


def pin_load() -> None:
    """Keep this process, which makes the load, off the server's core."""
    os.sched_setaffinity(0, {LOAD_CORE % (os.cpu_count() or 1)})


@dataclass
class Server:
    """A `headstock serve` process."""

    address: str
    process: subprocess.Popen[str]
    ready_seconds: float

    def pss_mb(self) -> float:
        """Proportional resident memory of the server's processes, MB."""
        family = [
            psutil.Process(self.process.pid),
            *psutil.Process(self.process.pid).children(recursive=True),
        ]
        return sum(p.memory_full_info().pss for p in family) / 1e6

    def cpu_seconds(self) -> float:
        """User and system time of the server so far, seconds."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system


@contextmanager
def serve(home: Path, *options: str, pinned: bool = True) -> Iterator[Server]:
    """A server for the catalogue in `home`, on core 0 unless it is not `pinned`."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [HEADSTOCK, "serve", "--bind", "127.0.0.1:0", *options],
        text=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "HEADSTOCK_HOME": str(home)},
        preexec_fn=pin(SERVER_CORE) if pinned else None,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if match := re.search(r"listening on (\S+:\d+)", line):
                yield Server(match.group(1), process, time.perf_counter() - started)
                break
        else:
            raise SystemExit("the server did not start")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


@dataclass(frozen=True)
class BareRate:
    """Rows per second of bare ONNX Runtime."""

    wall: float
    cpu: float


class BareOrt:
    """Bare ONNX Runtime on core 0, asked for bursts."""

    def __init__(self, graph: Path, *, vocabulary: int, tap: str) -> None:
        script = Path(__file__).with_name("_bare_ort.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), str(graph), str(vocabulary), tap],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=pin(SERVER_CORE),
        )

    def rate(self, lengths: Sequence[int], batch: int, seconds: float) -> BareRate:
        """Rows per wall and per CPU second at a batch size, rows in the order given."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"lengths": list(map(int, lengths)), "batch": batch, "seconds": seconds}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return BareRate(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)


def ids_request(model: str, length: int, seed: int, vocabulary: int = 30000, output: str = "logits") -> bytes:
    """A serialised one-row request of `length` random token ids."""
    ids = np.random.default_rng(seed).integers(1000, vocabulary, (1, length))
    request = oip.ModelInferRequest(model_name=model)
    for name, array in (("input_ids", ids), ("attention_mask", np.ones_like(ids))):
        request.inputs.add(name=name, datatype="INT64", shape=[1, length])
        request.raw_input_contents.append(array.astype("<i8").tobytes())
    request.outputs.add(name=output)
    data: bytes = request.SerializeToString()
    return data


@dataclass(frozen=True)
class Load:
    """What a closed loop saw."""

    rate: float
    """Answers per second."""
    p50_ms: float
    p99_ms: float
    errors: int
    answers: int
    """All answers, the warm-up's included."""


def closed_loop(address: str, requests: Sequence[bytes], concurrency: int, seconds: float, warmup: float = 0.7) -> Load:
    """`concurrency` callers that each send their next request when the last was answered; warm-up is not counted."""
    return asyncio.run(_closed_loop(address, requests, concurrency, seconds, warmup))


async def _closed_loop(
    address: str, requests: Sequence[bytes], concurrency: int, seconds: float, warmup: float
) -> Load:
    answered: list[tuple[float, float]] = []
    errors = 0
    async with grpc.aio.insecure_channel(address) as channel:
        infer = channel.unary_unary(INFER)
        end = time.perf_counter() + warmup + seconds

        async def caller(index: int) -> None:
            nonlocal errors
            position = index
            while (start := time.perf_counter()) < end:
                try:
                    await infer(requests[position % len(requests)])
                    answered.append((start, time.perf_counter()))
                except grpc.aio.AioRpcError:
                    errors += 1
                position += concurrency

        await asyncio.gather(*(caller(i) for i in range(concurrency)))
    counted = [(s, e) for s, e in answered if end - seconds <= e <= end]
    # The slope of answers over time: answers come in bursts of a batch, so a bare count of a short window is wrong.
    ends = sorted(e for _, e in counted)
    rate = (len(ends) - 1) / (ends[-1] - ends[0]) if len(ends) > 1 else 0.0
    latencies = np.array([e - s for s, e in counted]) * 1000
    return Load(rate, float(np.percentile(latencies, 50)), float(np.percentile(latencies, 99)), errors, len(answered))


def median(values: Sequence[float]) -> float:
    """The median."""
    return float(np.median(np.asarray(values)))


def report(title: str, headers: Sequence[str], rows: Sequence[Sequence[Any]], results: dict[str, Any]) -> None:
    """Print a table, and write it as JSON when HEADSTOCK_BENCH_RESULTS names a folder."""
    from headstock.cli.output import table

    print(f"\n{title}\n{table(headers, [[str(c) for c in row] for row in rows])}")
    if folder := os.environ.get("HEADSTOCK_BENCH_RESULTS"):
        name = Path(sys.argv[0]).stem
        record = {"benchmark": name, "environment": environment(), "results": results}
        Path(folder, f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")


def verdict(what: str, ratio: float, target: float, *, at_most: bool = False) -> bool:
    """Print a ratio beside its target; True if it is met."""
    met = ratio <= target if at_most else ratio >= target
    print(f"{what}: {ratio:.3f} (target {'<=' if at_most else '>='} {target}) {'met' if met else 'MISSED'}")
    return met
