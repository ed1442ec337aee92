"""CPU time of `headstock list` of a thousand models with its verdict column over the same without, alternating.

Warm: nothing that verdicts depend on has changed since the last list; moving an alias changes nothing. Decided: after
`headstock licence conclude`, which judges anew what it changed, as every command that changes the catalogue does. Cold:
the list judges all of them itself, as after an edit of the policy or a new version of Headstock.

Cold is held beside the same limit, and does not decide the exit status: nobody lists twice in that state.

Modules are compiled before, as those of an installed package are.
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
_MAIN = "from headstock.cli import main\nmain.main()"
_LIST = "import sys; sys.argv = ['headstock', 'list']\nfrom headstock.cli import list as listing, main\n{}\nmain.main()"
_BLANK = "from collections import defaultdict\nlisting.verdict_column = lambda *_: defaultdict(str)"
_PROGRAMS = {"without": _LIST.format(_BLANK), "warm": _LIST.format(""), "promoted": _LIST.format("")}
_PROGRAMS["decided"] = _PROGRAMS["cold"] = _PROGRAMS["warm"]


def _conclude(licence: str) -> list[str]:
    """The command that decides something about the backbone of all."""
    words = ["licence", "conclude", "backbone", "--as", licence, "--reason", "the next list is warm all the same"]
    return [sys.executable, "-c", f"import sys; sys.argv = {['headstock', *words]}\n{_MAIN}"]


def main() -> int:
    """Measure, print, return 0 if the target is met."""
    from headstock.catalogue import Catalogue
    from headstock.settings import Settings

    with tempfile.TemporaryDirectory(prefix="headstock-bench-") as folder:
        environment = {**os.environ, "HEADSTOCK_HOME": folder, "PYTHONPYCACHEPREFIX": f"{folder}/compiled"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        with Catalogue.open(Settings.from_environment(environment)) as catalogue:
            backbone = catalogue.publish(backbone_publication(catalogue.store, "backbone"))
            for seed in range(MODELS):
                catalogue.publish(model_publication(catalogue.store, f"m{seed:04d}", backbone.subject, seed=seed))
            times: dict[str, list[float]] = {name: [] for name in _PROGRAMS}
            for program in _PROGRAMS.values():
                cpu([sys.executable, "-c", program], environment)
            for run in range(RUNS):
                for name, program in _PROGRAMS.items():
                    if name == "promoted":
                        catalogue.promote(f"m{run % MODELS:04d}", 1, reason="the next list is warm all the same")
                    if name == "decided":
                        cpu(_conclude("MIT" if run % 2 else "CC0-1.0"), environment)
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
    names = {"warm": "warm", "promoted": "after a promotion", "decided": "after a decision", "cold": "cold"}
    met = [verdict(f"list with verdicts / without, {said}", ratios[n], 1.2, at_most=True) for n, said in names.items()]
    return 0 if all(met[:-1]) else 1


if __name__ == "__main__":
    sys.exit(main())
