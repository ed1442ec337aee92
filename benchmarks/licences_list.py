"""CPU time of `headstock list` of a thousand models with its verdict column over the same without, alternating.

Warm: nothing that verdicts depend on has changed since the last list; moving an alias changes nothing. Cold: all of
them are judged anew, as after a pull, a decision or another policy.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from _common import report, verdict
from _cpu import cpu
from headstock.testing.publications import backbone_publication, model_publication

RUNS = int(os.environ.get("RUNS", "9"))
MODELS = int(os.environ.get("MODELS", "1000"))

# The two programs differ in one look-up: what the column costs, and nothing of starting Python.
_LIST = "import sys; sys.argv = ['headstock', 'list']\nfrom headstock.cli import list as listing, main\n{}\nmain.main()"
_BLANK = "from collections import defaultdict\nlisting.verdict_column = lambda *_: defaultdict(str)"
_PROGRAMS = {"without": _LIST.format(_BLANK), "warm": _LIST.format(""), "promoted": _LIST.format("")}
_PROGRAMS["cold"] = _PROGRAMS["warm"]


def main() -> int:
    """Measure, print, return 0 if the target is met."""
    from headstock.catalogue import Catalogue
    from headstock.settings import Settings

    with tempfile.TemporaryDirectory(prefix="headstock-bench-") as folder:
        environment = {**os.environ, "HEADSTOCK_HOME": folder}
        with Catalogue.open(Settings.from_environment(environment)) as catalogue:
            backbone = catalogue.publish(backbone_publication(catalogue.store, "backbone"))
            for seed in range(MODELS):
                catalogue.publish(model_publication(catalogue.store, f"m{seed:04d}", backbone.subject, seed=seed))
            times: dict[str, list[float]] = {name: [] for name in _PROGRAMS}
            cpu([sys.executable, "-c", _PROGRAMS["warm"]], environment)
            for run in range(RUNS):
                for name, program in _PROGRAMS.items():
                    if name == "promoted":
                        catalogue.promote(f"m{run % MODELS:04d}", 1, reason="the next list is warm all the same")
                    if name == "cold":
                        for kept in (Path(folder) / "cache").glob("verdicts-*.json"):
                            kept.unlink()
                    times[name].append(cpu([sys.executable, "-c", program], environment))
    best = {name: min(values) for name, values in times.items()}
    ratios = {name: best[name] / best["without"] for name in best}
    report(
        f"list of {MODELS} models",
        ["verdict column", "CPU ms", "over without"],
        [[name, f"{value * 1000:.0f}", f"{ratios[name]:.3f}"] for name, value in best.items()],
        {"ratio": ratios["warm"], "ratios": ratios, "cpu_s": best},
    )
    met = verdict("list with verdicts / without, warm", ratios["warm"], 1.2, at_most=True)
    promoted = verdict("list with verdicts / without, after a promotion", ratios["promoted"], 1.2, at_most=True)
    return 0 if met and promoted else 1


if __name__ == "__main__":
    sys.exit(main())
