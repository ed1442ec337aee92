"""CPU time of `headstock list` of a thousand models with its verdict column over the same without, alternating."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile

from _common import report, verdict
from headstock.testing.publications import backbone_publication, model_publication

RUNS, MODELS = 9, 1000

# The two programs differ in one look-up: what the column costs, and nothing of starting Python.
_LIST = "import sys; sys.argv = ['headstock', 'list']\nfrom headstock.cli import list as listing, main\n{}\nmain.main()"
_BLANK = "from collections import defaultdict\nlisting.verdict_column = lambda *_: defaultdict(str)"


def cpu(program: str, environment: dict[str, str]) -> float:
    """User and system seconds of one listing."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


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
        programs = {"with": _LIST.format(""), "without": _LIST.format(_BLANK)}
        first = cpu(programs["with"], environment)
        times: dict[str, list[float]] = {name: [] for name in programs}
        for _ in range(RUNS):
            for name, program in programs.items():
                times[name].append(cpu(program, environment))
    best = {name: min(values) for name, values in times.items()}
    ratio = best["with"] / best["without"]
    report(
        f"list of {MODELS} models",
        ["verdict column", "CPU ms"],
        [*([name, f"{value * 1000:.0f}"] for name, value in best.items()), ["first time", f"{first * 1000:.0f}"]],
        {"ratio": ratio, "cpu_s": best, "first_s": first},
    )
    return 0 if verdict("list with verdicts / without", ratio, 1.2, at_most=True) else 1


if __name__ == "__main__":
    sys.exit(main())
