"""Runs every benchmark one after the other, and says which met their targets and how long all of them took.

`--quick` runs those that matter most, with short windows, in about five minutes: good for seeing that a change did no
harm, not for figures to quote.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from _zoo import PULLED, minilm_zoo
from headstock.cli.output import table

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A script of this folder."""

    name: str
    quick: tuple[str, ...] | None = None
    """Its options in the quick run; None leaves it out there."""


BENCHMARKS = (
    Benchmark("cli_list", ()),
    Benchmark("serving_limit", ("--seconds", "1.5", "--rounds", "3")),
    Benchmark("front_ends", ("--seconds", "1", "--rounds", "2")),
    Benchmark("mixed_lengths", ("--seconds", "1", "--rounds", "1")),
    Benchmark("many_heads", ("--seconds", "1.5", "--rounds", "4")),
    Benchmark("hundred_models"),
    Benchmark("graph"),
    Benchmark("graph_served"),
    Benchmark("lora", ("--seconds", "1", "--rounds", "3")),
    Benchmark("overload", ("--seconds", "10")),
    Benchmark("peers"),
    Benchmark("licences_list"),
    Benchmark("licences"),
    Benchmark("feature_cache"),
    Benchmark("finetune_speed"),
    Benchmark("rank"),
    Benchmark("adaptation"),
    Benchmark("quality"),
    Benchmark("quality_strategies"),
)
"""Serving first, then licences, then what is learned; each group from what is quick to what is not."""


def main() -> int:
    """Run them, print a line for each, return 0 if all ended well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the most important ones, with short windows")
    quick = parser.parse_args().quick
    begin = time.perf_counter()
    rows, ended = [], []
    with minilm_zoo() as home:
        for benchmark in BENCHMARKS:
            if quick and benchmark.quick is None:
                continue
            options = benchmark.quick or () if quick else ()
            started = time.perf_counter()
            code = run(benchmark.name, options, home)
            ended.append(code)
            result = "met" if code == 0 else f"NOT MET, exit status {code}"
            rows.append([benchmark.name, result, f"{time.perf_counter() - started:.0f}"])
    print(f"\n{table(['benchmark', 'targets', 'seconds'], rows)}")
    print(f"{len(rows)} benchmarks in {(time.perf_counter() - begin) / 60:.1f} minutes")
    return 1 if any(ended) else 0


def run(name: str, options: tuple[str, ...], home: Path) -> int:
    """Run one script with a zoo that is pulled already; its exit status."""
    print(f"\n{'=' * 20} {name} {' '.join(options)}", flush=True)
    environment = {**os.environ, PULLED: str(home)}
    return subprocess.run([sys.executable, str(HERE / f"{name}.py"), *options], env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
