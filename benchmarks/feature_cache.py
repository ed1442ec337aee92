"""Ten epochs on a frozen backbone with the feature cache against ten without, same data, in CPU time.

The bound is ten: with a cold cache the backbone still sees every sample once.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

from _common import HEADSTOCK, median, report, verdict
from _zoo import minilm_zoo

EPOCHS, ROUNDS = 10, 3
DATA = Path(__file__).parents[1] / "examples" / "tickets.csv"


def measure(home: Path, name: str, epochs: int, *options: str) -> float:
    """CPU seconds, of the whole command, of one fine-tune of exactly `epochs` epochs."""
    command = [
        HEADSTOCK, "fine-tune", "--backbone", "minilm", "--head", "text-classification", "--data", str(DATA),
        "--name", name, "--epochs", str(epochs), "--patience", str(epochs), *options,
    ]  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        command,
        env={**os.environ, "HEADSTOCK_HOME": str(home)},
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Measure, print, return 0 if the target is met."""
    times: dict[str, list[float]] = {"no cache": [], "cache, cold": [], "cache, warm": [], "fixed": []}
    with minilm_zoo() as home:
        for round_ in range(ROUNDS):
            shutil.rmtree(home / "cache" / "features", ignore_errors=True)
            times["cache, cold"].append(measure(home, f"cold-{round_}", EPOCHS))
            times["no cache"].append(measure(home, f"none-{round_}", EPOCHS, "--no-feature-cache"))
            times["cache, warm"].append(measure(home, f"warm-{round_}", EPOCHS, "--seed", "1"))
            # What every run pays whatever it trains: imports, reading, checking and publishing. All of it is counted
            # as "not epochs", and one cached epoch with it, which is a few milliseconds.
            times["fixed"].append(measure(home, f"fixed-{round_}", 1, "--seed", "2"))
    cpu = {name: median(values) for name, values in times.items()}
    epochs = {name: value - cpu["fixed"] for name, value in cpu.items()}
    ratio = epochs["no cache"] / epochs["cache, cold"]
    report(
        f"ten epochs on {DATA.name}, frozen MiniLM; a run without epochs costs {cpu['fixed']:.2f} CPU s",
        ["run", "CPU s, whole command", "CPU s, epochs alone"],
        [[name, f"{cpu[name]:.2f}", f"{epochs[name]:.2f}"] for name in ("no cache", "cache, cold", "cache, warm")],
        {"ratio": ratio, "whole_command_ratio": cpu["no cache"] / cpu["cache, cold"], "cpu_s": cpu},
    )
    print(f"whole commands, imports included: {cpu['no cache'] / cpu['cache, cold']:.1f} times faster")
    return 0 if verdict("ten epochs, no cache / cold cache", ratio, 8) else 1


if __name__ == "__main__":
    sys.exit(main())
