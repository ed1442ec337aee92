"""What the GPU benchmark measures with: bare sessions with their memory on the device, load from many processes."""

from __future__ import annotations

import asyncio
import multiprocessing
import subprocess
import time
from collections.abc import Callable, Sequence
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from _common import INFER, median
from headstock.graph import Graph
from headstock.oip import open_inference_grpc_pb2 as oip
from headstock.providers import Device, DeviceOptions, providers

TAP = "mean"


def hardware() -> dict[str, str]:
    """The GPU, its driver and CUDA as `nvidia-smi` names them; empty without one."""
    fields = "name,driver_version,memory.total,clocks.max.sm"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(zip(fields.split(","), map(str.strip, lines[0].split(",")), strict=True)) if lines else {}


def feeds_of(inputs: Sequence[str], rows: int, length: int) -> dict[str, np.ndarray]:
    """One pass of random tokens without padding."""
    ids = np.random.default_rng(length).integers(1000, 30000, (rows, length))
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    return {name: feeds[name] for name in inputs}


def bare_pass(path: Path, device: Device, rows: int, length: int) -> Callable[[], object]:
    """A pass of ONNX Runtime alone whose inputs and outputs lie on the device already: the limit."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=providers(device, DeviceOptions()))
    place = "cpu" if device == "cpu" else "cuda"
    feeds = feeds_of([i.name for i in session.get_inputs()], rows, length)
    binding = session.io_binding()
    values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(value, place, 0) for name, value in feeds.items()}
    for name, value in values.items():
        binding.bind_ortvalue_input(name, value)
    shape = session.run([TAP], feeds)[0].shape
    output = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, place, 0)
    binding.bind_ortvalue_output(TAP, output)

    def run(_: Any = (values, output)) -> None:
        session.run_with_iobinding(binding)
        # The next pass starts when this one is over: a queue of launches is no measure of passes.
        binding.synchronize_outputs()

    return run


def graph_pass(graph: Graph, rows: int, length: int) -> Callable[[], object]:
    """A pass as the engine makes it: from arrays of the host to arrays of the host."""
    feeds = feeds_of(graph.inputs, rows, length)
    return lambda: graph.run(feeds, [TAP])


def interleaved(passes: dict[str, Callable[[], object]], seconds: float) -> dict[str, list[float]]:
    """Seconds of each pass, taking turns for about that long, at least three rounds after two to warm up."""
    taken: dict[str, list[float]] = {name: [] for name in passes}
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < 5 or time.perf_counter() < end:
        for name, run in passes.items():
            start = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - start)
        rounds += 1
    return {name: values[2:] for name, values in taken.items()}


def ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """The median of `one` over `other`, round by round."""
    return median([a / b for a, b in zip(one, other, strict=True)])


def request(model: str, rows: int, length: int, seed: int) -> bytes:
    """A serialised request of `rows` rows of random tokens."""
    ids = np.random.default_rng(seed).integers(1000, 30000, (rows, length))
    made = oip.ModelInferRequest(model_name=model)
    for name, array in (("input_ids", ids), ("attention_mask", np.ones_like(ids))):
        made.inputs.add(name=name, datatype="INT64", shape=[rows, length])
        made.raw_input_contents.append(array.astype("<i8").tobytes())
    made.outputs.add(name="logits")
    data: bytes = made.SerializeToString()
    return data


class Callers:
    """Processes that make load together: one alone cannot fill a GPU."""

    def __init__(self, processes: int) -> None:
        self._count = processes
        self._pool: Pool = multiprocessing.get_context("spawn").Pool(processes)

    def load(self, address: str, requests: Sequence[bytes], callers: int, seconds: float) -> float:
        """Answers per second of `callers` callers in all; raises if a request fails."""
        each = max(1, callers // self._count)
        jobs = [(address, [*requests[i:], *requests[:i]], each, seconds) for i in range(self._count)]
        return sum(self._pool.starmap(_answers_per_second, jobs))

    def close(self) -> None:
        """End the processes."""
        self._pool.terminate()
        self._pool.join()


def _answers_per_second(address: str, requests: Sequence[bytes], callers: int, seconds: float) -> float:
    return asyncio.run(_closed_loop(address, requests, callers, seconds))


async def _closed_loop(address: str, requests: Sequence[bytes], callers: int, seconds: float) -> float:
    """Every answer over all of the time that they took, the last ones' included."""
    answers = 0
    async with grpc.aio.insecure_channel(address) as channel:
        infer = channel.unary_unary(INFER)
        start = time.perf_counter()

        async def caller(position: int) -> None:
            nonlocal answers
            while time.perf_counter() < start + seconds:
                await infer(requests[position % len(requests)])
                answers += 1
                position += callers

        await asyncio.gather(*(caller(i) for i in range(callers)))
        return answers / (time.perf_counter() - start)
