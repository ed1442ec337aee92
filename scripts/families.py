"""Write `docs/families.md`: every backbone family with every head that fits it, taken through everything."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

# Before anything imports transformers: it reads both once.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

from family_table.measure import Measured, measure
from family_table.page import Group, cells, read, render, title
from family_table.pairs import family_cases, fit, head_types, taps_of
from headstock.plugin_host import PluginHost, open_host
from headstock.testing.cases import FamilyCase

PAGE = Path(__file__).resolve().parent.parent / "docs" / "families.md"


def build(host: PluginHost, shown: Mapping[tuple[str, str], Sequence[str]], families: Sequence[str]) -> list[Group]:
    """The page's groups: checkpoints of `families` are measured, the others are as the page shows them."""
    descriptions = {family.name: family.description for family in host.families()}
    groups = []
    for case in family_cases(host):
        name, family = title(case.family, case.variant), host.family(case.family)
        with tempfile.TemporaryDirectory() as folder:
            taps = taps_of(family, case, Path(folder))
        found = _measured(host, case) if case.family in families else None
        rows: dict[str, Sequence[str]] = {}
        for head in head_types(host, family.modality):
            old = shown.get((name, head.name), [])
            if found is not None:
                rows[head.name] = cells(found[head.name], old)
            elif (fitting := fit(head, taps)).tap is None:
                rows[head.name] = [fitting.reason]
            else:
                rows[head.name] = old or ["**not measured**"]
        groups.append(
            Group(
                modality=family.modality,
                family=case.family,
                variant=case.variant,
                description=descriptions[case.family],
                taps=[tap.name for tap in taps],
                rows=rows,
            )
        )
    return groups


def _measured(host: PluginHost, case: FamilyCase) -> dict[str, Measured]:
    print(f"measuring {title(case.family, case.variant)}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        return {found.head: found for found in measure(host, case, Path(folder))}


def main(words: Sequence[str] | None = None) -> int:
    """Measure and write, or with --check only compare; exit code 1 if the page is not what it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page is stale")
    parser.add_argument("family", nargs="*", help="measure these only, and take the others from the page")
    arguments = parser.parse_args(words)
    host = open_host()
    known = [family.name for family in host.families()]
    if unknown := sorted(set(arguments.family) - set(known)):
        parser.error(f"no family {unknown}; there are {', '.join(known)}")
    page = PAGE.read_text() if PAGE.exists() else ""
    made = render(build(host, read(page), arguments.family or known))
    if not arguments.check:
        PAGE.write_text(made)
    changed = list(difflib.unified_diff(page.splitlines(), made.splitlines(), "the page", "measured", lineterm="", n=1))
    print("\n".join(changed or [f"{PAGE.name} is as measured"]))
    return 1 if "**" in made or (arguments.check and changed) else 0


if __name__ == "__main__":
    sys.exit(main())
