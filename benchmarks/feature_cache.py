"""Ten epochs on a frozen backbone with the feature cache against ten without, same data, CPU time of whole commands."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _common import HEADSTOCK, report, verdict
from _zoo import minilm_zoo

EPOCHS = 10
DATA = Path(__file__).parents[1] / "examples" / "tickets.csv"


def measure(home: Path, name: str, *options: str) -> tuple[float, float]:
    """CPU and wall seconds of one fine-tune of exactly `EPOCHS` epochs."""
    command = [
        HEADSTOCK, "fine-tune", "--backbone", "minilm", "--head", "text-classification", "--data", str(DATA),
        "--name", name, "--epochs", str(EPOCHS), "--patience", str(EPOCHS), *options,
    ]  # fmt: skip
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        command, env={**os.environ, "HEADSTOCK_HOME": str(home)}, check=True, stdout=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.perf_counter() - wall


def baseline() -> float:
    """CPU seconds of the imports alone: what both commands pay before the first row."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as empty:
        code = "import torch, sklearn, onnxruntime, tokenizers, sqlalchemy"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=empty)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Measure, print, return 0 if the target is met."""
    with minilm_zoo() as home:
        start = baseline()
        without = measure(home, "uncached", "--no-feature-cache")
        cold = measure(home, "cached")
        warm = measure(home, "warm", "--seed", "1")
    rows = [
        ["no cache", f"{without[0]:.1f}", f"{without[1]:.1f}", "1.0"],
        [
            "cache, cold",
            f"{cold[0]:.1f}",
            f"{cold[1]:.1f}",
            f"{(without[0] - start) / (cold[0] - start):.1f}",
        ],
        [
            "cache, warm",
            f"{warm[0]:.1f}",
            f"{warm[1]:.1f}",
            f"{(without[0] - start) / max(warm[0] - start, 1e-3):.1f}",
        ],
    ]
    whole, work = without[0] / cold[0], (without[0] - start) / (cold[0] - start)
    report(
        f"ten epochs on {DATA.name}; imports alone cost {start:.1f} s",
        ["run", "CPU s", "wall s", "times faster, imports taken off"],
        rows,
        {"whole_command": whole, "work": work, "imports_s": start, "cpu_s": {"none": without[0], "cold": cold[0], "warm": warm[0]}},
    )  # fmt: skip
    print(f"whole commands, imports included: {whole:.1f} times faster")
    return 0 if verdict("ten epochs, no cache / cold cache", work, 8) else 1


if __name__ == "__main__":
    sys.exit(main())
