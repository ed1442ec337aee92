"""What the benchmarks share: a server and a bare ONNX Runtime on core 0, a load on core 1, tables and ratios.

Every figure that is reported is a ratio of two things measured in the same run, in alternating windows: the machines
that run these are shared, and absolute figures move by a factor of two within minutes.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
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
CHANNEL = [("grpc.max_receive_message_length", -1)]
SERVER_CORE, LOAD_CORE = 0, 1
MOST_ERRORS = 100
"""A load ends early once so many requests have failed."""


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
        return sum(p.memory_full_info().pss for p in self._family()) / 1e6

    def cpu_seconds(self, *, children: bool = True) -> float:
        """User and system time of the server's processes so far, or of its first alone, seconds."""
        return sum(sum(p.cpu_times()[:2]) for p in (self._family() if children else self._family()[:1]))

    def _family(self) -> list[psutil.Process]:
        first = psutil.Process(self.process.pid)
        return [first, *first.children(recursive=True)]


def serve(home: Path, *options: str, pinned: bool = True) -> AbstractContextManager[Server]:
    """A server for the catalogue in `home`, on core 0 unless it is not `pinned`."""
    return started([HEADSTOCK, "serve", "--bind", "127.0.0.1:0", *options], home, pinned=pinned)


def serve_engine(home: Path, models: Sequence[str] = (), **engine: Any) -> AbstractContextManager[Server]:
    """The same server with other `EngineOptions`, which the command line does not offer."""
    script = str(Path(__file__).with_name("_engine_server.py"))
    return started([sys.executable, script, json.dumps({"models": list(models), "engine": engine})], home)


@contextmanager
def started(command: Sequence[str], home: Path, *, pinned: bool = True) -> Iterator[Server]:
    """A server process, on core 0 unless it is not `pinned`, that says `listening on HOST:PORT` once it is ready."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        command,
        text=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "HEADSTOCK_HOME": str(home)},
        preexec_fn=pin(SERVER_CORE) if pinned else None,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if match := re.search(r"listening on (\S+:\d+)", line):
                yield Server(match.group(1), process, time.perf_counter() - begin)
                break
        else:
            raise SystemExit("the server did not start")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


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


def closed_loop(
    address: str, requests: Sequence[bytes], concurrency: int, seconds: float, warmup: float = 0.7, turns: int = 0
) -> Load:
    """`concurrency` callers that each send the next request when their last was answered; warm-up is not counted.

    The window lasts `seconds`, and until all requests were answered `turns` times.
    """
    return asyncio.run(_closed_loop(address, requests, concurrency, seconds, warmup, turns))


async def _closed_loop(
    address: str, requests: Sequence[bytes], concurrency: int, seconds: float, warmup: float, turns: int
) -> Load:
    counted: list[tuple[float, float]] = []
    errors = answers = 0
    upcoming = itertools.cycle(requests)
    async with grpc.aio.insecure_channel(address, options=CHANNEL) as channel:
        infer = channel.unary_unary(INFER)
        begin = time.perf_counter() + warmup
        stop = float("inf")

        async def caller() -> None:
            nonlocal errors, answers, stop
            while (start := time.perf_counter()) < begin + seconds or len(counted) <= turns * len(requests):
                try:
                    await infer(next(upcoming))
                    answers += 1
                    if begin <= (ended := time.perf_counter()) < stop:
                        counted.append((start, ended))
                except grpc.aio.AioRpcError:
                    errors += 1
                    if errors > MOST_ERRORS:
                        break
            # What is answered after this is answered to fewer callers.
            stop = min(stop, time.perf_counter())

        await asyncio.gather(*(caller() for _ in range(concurrency)))
    latencies = np.array([e - s for s, e in counted] or [np.nan]) * 1000
    p50, p99 = (float(np.percentile(latencies, q)) for q in (50, 99))
    return Load(_slope([e for _, e in counted], len(requests)), p50, p99, errors, answers)


def _slope(ends: Sequence[float], turn: int) -> float:
    """Answers per second as the slope of answers over time, over as many whole turns of the requests as there are.

    Answers come in bursts of a batch, so a bare count of a short window is wrong; requests differ, so part of a turn is
    another load than the whole.
    """
    ends = sorted(ends)
    last = len(ends) - 1
    last = last // turn * turn or last
    return last / (ends[last] - ends[0]) if last > 0 else 0.0


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
