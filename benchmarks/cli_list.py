"""CPU time of `headstock list` over that of `hf version`, alternating in one run; the smallest of each counts."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from _common import HEADSTOCK, report, verdict
from _cpu import cpu
from headstock.testing.toy import publish_toy

RUNS = 15


def main() -> int:
    """Measure, print, return 0 if the target is met."""
    from headstock.catalogue import Catalogue
    from headstock.settings import Settings

    with tempfile.TemporaryDirectory(prefix="headstock-bench-") as folder:
        environment = {**os.environ, "HEADSTOCK_HOME": folder}
        with Catalogue.open(Settings.from_environment(environment)) as catalogue:
            publish_toy(catalogue)
        commands = {
            "headstock list": [HEADSTOCK, "list"],
            "hf version": [str(Path(sys.executable).with_name("hf")), "version"],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(RUNS):
            for name, command in commands.items():
                times[name].append(cpu(command, environment))
    best = {name: min(t) for name, t in times.items()}
    ratio = best["headstock list"] / best["hf version"]
    report(
        "start-up",
        ["command", "CPU ms"],
        [[n, f"{t * 1000:.0f}"] for n, t in best.items()],
        {"ratio": ratio, "cpu_s": best},
    )
    return 0 if verdict("headstock list / hf version", ratio, 1.0, at_most=True) else 1


if __name__ == "__main__":
    sys.exit(main())
