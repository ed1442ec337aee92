"""Everything that is claimed of a GPU, measured on one in under eight minutes, unattended.

    python benchmarks/gpu.py                        on a machine with one: writes benchmarks/results/gpu.json
    python benchmarks/gpu.py --device cpu --quick   every line of this file, in a short time and with no meaning

Ratios are of things that take turns in this run. A stage that fails, or for which no time is left, is written down as
such and the others go on. Times are by the clock: nothing else may run on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from _common import environment, median, serve
from _gpu import TAP, Callers, bare_pass, feeds_of, graph_pass, hardware, interleaved, ratio, request
from _zoo import add_models, graph_of, minilm_zoo, open_zoo
from headstock.errors import HeadstockError
from headstock.graph import Graph
from headstock.names import Reference
from headstock.providers import Device, DeviceOptions
from headstock.settings import Settings
from headstock.variant import make_variant

RESULTS = Path(__file__).with_name("results") / "gpu.json"
LENGTH = 32


@dataclass
class Run:
    """One run of the benchmark, and what it may spend."""

    device: Device
    quick: bool
    home: Path
    callers: Callers
    until: float
    results: dict[str, Any] = field(default_factory=dict)

    def seconds(self, usual: float) -> float:
        """How long a window takes."""
        return min(usual, 1.0) if self.quick else usual

    def load(self, address: str, requests: list[bytes], callers: int, seconds: float) -> float:
        """Answers per second, after a third of that time to warm up."""
        if self.quick:
            callers = 8
        self.callers.load(address, requests, callers, self.seconds(seconds / 3))
        return self.callers.load(address, requests, callers, self.seconds(seconds))

    def stage(self, name: str, least: float, measure: Callable[[Run], Any]) -> None:
        """Run a stage unless fewer than `least` seconds are left; a failure is a result too."""
        started = time.perf_counter()
        if self.until - started < least:
            self.results[name] = {"not run": f"{self.until - started:.0f} s were left"}
        else:
            try:
                self.results[name] = measure(self)
            except Exception as error:
                traceback.print_exc()
                self.results[name] = {"failed": f"{type(error).__name__}: {error}"}
        took = time.perf_counter() - started
        print(f"{name} ({took:.0f} s): {json.dumps(self.results[name])}", flush=True)


def engine(run: Run) -> dict[str, Any]:
    """Passes of the engine's graph over the bare runtime's, whose memory is on the device already."""
    found = {}
    path = graph_of(run.home)
    graphs = {
        "bound": Graph(path, device=run.device, options=DeviceOptions(binding="staged")),
        "plain": Graph(path, device=run.device, options=DeviceOptions(binding="off")),
        "replayed": Graph(path, device=run.device, options=DeviceOptions(binding="staged", cuda_graphs=True)),
    }
    for rows, length in (
        ((1, 16), (1, LENGTH), (2, 128)) if run.quick else ((1, 16), (1, 32), (32, 32), (256, 32), (64, 128))
    ):
        captured = graphs["replayed"].capture(feeds_of(graphs["replayed"].inputs, rows, length), [TAP])
        passes = {"bare": bare_pass(path, run.device, rows, length)}
        passes |= {name: graph_pass(graph, rows, length) for name, graph in graphs.items()}
        taken = interleaved(passes, run.seconds(3.0))
        found[f"{rows}x{length}"] = {
            "bare_rows_per_s": rows / median(taken["bare"]),
            **{f"{name}/bare": ratio(taken["bare"], taken[name]) for name in graphs},
            "captured": captured,
        }
    return found


def half(run: Run) -> dict[str, Any]:
    """FP16 beside FP32: what `headstock variant` says of it on this device, and the rate of large passes."""
    with open_zoo(run.home) as catalogue:
        try:
            made = make_variant(catalogue, Reference("minilm"), "fp16", "minilm-fp16", device=run.device)
        except HeadstockError as error:
            return {"refused": error.message}
    rows, length = (2, LENGTH) if run.quick else (256, 128)
    graphs = {"fp32": Graph(graph_of(run.home), device=run.device)}
    graphs["fp16"] = Graph(graph_of(run.home, "minilm-fp16"), device=run.device)
    taken = interleaved({n: graph_pass(g, rows, length) for n, g in graphs.items()}, run.seconds(4.0))
    return {
        "certificate": {"tolerance": made.certificate.tolerance, "measured": made.certificate.measured},
        "cosine": {tap: agreement.cosine for tap, agreement in made.agreement.items()},
        "small_passes": [[s.rows, s.length, s.ratio] for s in made.speeds],
        f"rate_fp16/fp32 {rows}x{length}": ratio(taken["fp32"], taken["fp16"]),
    }


def heads(run: Run) -> dict[str, Any]:
    """Answers per second with 1, 10 and 100 heads on one backbone, of requests of 1 and of 16 rows."""
    names = add_models(run.home, 8 if run.quick else 100)
    counts = (1, len(names)) if run.quick else (1, 10, 100)
    found: dict[str, Any] = {"rows_per_s": {}, "ready_s": {}, "memory_mb": {}}
    for count in counts:
        chosen = names[:count]
        with serve(run.home, "--device", run.device, "--models", ",".join(chosen), pinned=False) as server:
            for rows in (1, 16):
                requests = [request(chosen[i % count], rows, LENGTH, i) for i in range(max(64, count))]
                rate = run.load(server.address, requests, 256 if rows == 1 else 64, 3.0)
                found["rows_per_s"][f"{count} heads, {rows} rows"] = rate * rows
            found["ready_s"][count] = server.ready_seconds
            found["memory_mb"][count] = server.pss_mb()
    for rows in (1, 16):
        one, many = (found["rows_per_s"][f"{count} heads, {rows} rows"] for count in (counts[0], counts[-1]))
        found[f"{counts[-1]} heads / 1, {rows} rows"] = many / one
    return found


def separate(run: Run) -> dict[str, Any]:
    """One backbone with many heads against as many sessions, each batching its own requests: rows in, features out."""
    count, waiting = (4, 16) if run.quick else (100, 400)
    path = graph_of(run.home)
    started = time.perf_counter()
    sessions = [Graph(path, device=run.device) for _ in range(count)]
    opened = time.perf_counter() - started
    ids = np.random.default_rng(0).integers(1000, 30000, (waiting, LENGTH))
    owners = np.random.default_rng(1).integers(0, count, waiting)

    def feeds(rows: Any) -> dict[str, Any]:
        made = {"input_ids": rows, "attention_mask": np.ones_like(rows), "token_type_ids": np.zeros_like(rows)}
        return {name: made[name] for name in sessions[0].inputs}

    def one_each() -> None:
        for owner in np.unique(owners):
            sessions[owner].run(feeds(ids[owners == owner]), [TAP])

    shared = sessions[0]
    taken = interleaved({"separate": one_each, "shared": lambda: shared.run(feeds(ids), [TAP])}, run.seconds(8.0))
    return {
        "sessions": count,
        "rows_waiting": waiting,
        "opening_s": opened,
        "shared/separate": ratio(taken["separate"], taken["shared"]),
        "rows_per_s": {name: waiting / median(values) for name, values in taken.items()},
    }


def adapters(run: Run) -> dict[str, Any]:
    """Answers per second with many adapters of rank 8 in one batch over none."""
    from lora import add_adapted

    plain, *adapted = add_adapted(run.home, 4 if run.quick else 64)
    rates = {}
    for label, names in (("none", [plain]), (str(len(adapted)), adapted)):
        with serve(run.home, "--device", run.device, "--models", ",".join(names), pinned=False) as server:
            requests = [request(names[i % len(names)], 8, LENGTH, i) for i in range(64)]
            rates[label] = 8 * run.load(server.address, requests, 64, 4.0)
    return {"rows_per_s": rates, f"{len(adapted)} adapters / none": rates[str(len(adapted))] / rates["none"]}


def front_ends(run: Run) -> dict[str, Any]:
    """Answers per second of a model that costs nothing, with more and more processes that speak gRPC."""
    from front_ends import FLOATS, _request
    from headstock.catalogue import Catalogue
    from headstock.testing.toy import ToyHead, publish_toy

    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": folder})) as catalogue:
            publish_toy(catalogue, {"noop": ToyHead(labels=(), out=FLOATS, seed=1)})
        for count in (0, 1) if run.quick else (0, 1, 2, 4, 8):
            with serve(Path(folder), "--front-ends", str(count), pinned=False) as server:
                rates[count] = run.load(server.address, [_request()], 256, 3.0)
    return {"answers_per_s": rates, "over_none": {count: rate / rates[0] for count, rate in rates.items()}}


def main() -> int:
    """Measure, print, write the results; 0 if every stage ran and none failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "tensorrt", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="short windows and few models; proves that it runs")
    parser.add_argument("--seconds", type=float, default=450.0, help="stop beginning stages in time for this")
    parser.add_argument("--results", type=Path, help="default: benchmarks/results/gpu.json, nothing with --quick")
    options = parser.parse_args()
    until = time.perf_counter() + options.seconds
    callers = Callers(2 if options.quick else min(12, max(2, (os.cpu_count() or 4) - 4)))
    try:
        with minilm_zoo() as home:
            run = Run(options.device, options.quick, home, callers, until)
            run.stage("engine", 30, engine)
            run.stage("fp16", 40, half)
            run.stage("heads", 90, heads)
            run.stage("separate_sessions", 60, separate)
            run.stage("adapters", 90, adapters)
            run.stage("front_ends", 60, front_ends)
    finally:
        callers.close()
    record = {
        "benchmark": "gpu",
        "device": options.device,
        "quick": options.quick,
        "environment": _environment(),
        "results": run.results,
    }
    target = options.results or (None if options.quick else RESULTS)
    if target is not None:
        target.write_text(json.dumps(record, indent=2) + "\n")
        print(f"written: {target}")
    return 1 if any({"failed", "not run"} & set(found) for found in run.results.values()) else 0


def _environment() -> dict[str, Any]:
    from importlib.metadata import PackageNotFoundError, version

    import onnxruntime

    # The GPU's package has a name of its own and the same folder.
    try:
        found = environment()
    except PackageNotFoundError:
        found = {"python": sys.version.split()[0], "cores": str(os.cpu_count())}
        found |= {name: version(name) for name in ("onnxruntime-gpu", "grpcio", "protobuf", "numpy")}
    return {**found, "providers": onnxruntime.get_available_providers(), "gpu": hardware()}


if __name__ == "__main__":
    sys.exit(main())
