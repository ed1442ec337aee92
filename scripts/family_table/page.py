"""The page `docs/families.md`: written from figures, and read back so that figures can be held against it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from family_table.measure import EPOCHS, Measured

COLUMNS = ("graph", "head", "served", "in company", "tritonclient")

# Another processor sums in another order.
_HEADROOM = 3.0
_BOUNDS = (1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4)
_BOUND = re.compile(r"≤ (\de-\d+)")

_TOP = f"""# Families and their heads

`headstock families` lists what can be pulled, `headstock heads` what can be grown on it. Every pair of the two that
fits was taken through everything that makes a model, on a tiny checkpoint with random weights: pulled from a directory,
trained for {EPOCHS} epochs on made-up data, exported, served over gRPC, and asked by two clients. `make families` does
it again and writes this page; the tests do it again for some of the families and hold the result against the page.

| column | largest absolute difference between |
|---|---|
| graph | the exported backbone and the torch module, over all taps, on the samples that a pull tries a checkpoint on |
| head | the exported head and the trained one |
| served | a server's answers, and torch run on each sample by itself under the same head |
| in company | a sample alone and among others: the backbone's isolation certificate, and the server's answers |
| tritonclient | the answers that `headstock_client` and an unchanged tritonclient get |

0 means equal bits. Other figures are bounds with room for another processor's rounding; those of heads and answers are
relative to the largest value of an output where that is above 1. The tap is the one that a head stands on when `--tap`
names no other. What weights a family loads, with their licences: `headstock families --presets`.

Models that nothing trains, CLIP's zero-shot classifiers and a backbone's plain vectors, are made by commands of their
own and stand in no table here.
"""


@dataclass(frozen=True, slots=True)
class Group:
    """One checkpoint's part of the page."""

    modality: str
    family: str
    variant: str
    description: str
    taps: Sequence[str]
    rows: Mapping[str, Sequence[str]]
    """Head type to the cells behind its name: tap and figures, or one cell that says why there are none."""


def cells(found: Measured, shown: Sequence[str] = ()) -> list[str]:
    """A row's cells; a bound that the page shows already is kept while it holds."""
    if found.fit.tap is None:
        return [found.fit.reason]
    figures = (found.graph, found.form, found.served, found.company, found.clients)
    old = shown[1:] if len(shown) == 1 + len(figures) else [""] * len(figures)
    exact = (False, False, False, True, True)
    return [
        f"`{found.fit.tap}`",
        *(
            cell if _holds(cell, figure) else _cell(figure, bits)
            for figure, cell, bits in zip(figures, old, exact, strict=True)
        ),
    ]


def render(groups: Sequence[Group]) -> str:
    """The whole page."""
    parts = [_TOP]
    modality = ""
    for group in groups:
        if group.modality != modality:
            modality = group.modality
            parts.append(f"## {modality.capitalize()}\n")
        parts.append(_section(group))
    return "\n".join(parts)


def read(page: str) -> dict[tuple[str, str], list[str]]:
    """(Heading of the checkpoint, head type) to the cells of the page's rows."""
    found = {}
    title = ""
    for line in page.splitlines():
        if line.startswith("### "):
            title = line.removeprefix("### ")
        elif title and (row := re.fullmatch(r"\| `([\w-]+)` \| (.*) \|", line)):
            found[title, row[1]] = row[2].split(" | ")
    return found


def title(family: str, variant: str) -> str:
    """The heading of a checkpoint."""
    return f"{family}, {variant}" if variant else family


def _section(group: Group) -> str:
    lines = [
        f"### {title(group.family, group.variant)}\n",
        f"{group.description} Taps: {', '.join(f'`{tap}`' for tap in group.taps)}.\n",
        f"| head | tap | {' | '.join(COLUMNS)} |",
        "|---" * (2 + len(COLUMNS)) + "|",
    ]
    for head, row in group.rows.items():
        padded = [*row, *["–"] * (1 + len(COLUMNS) - len(row))]
        lines.append(f"| `{head}` | {' | '.join(padded)} |")
    return "\n".join(lines) + "\n"


def _cell(figure: float, exact: bool) -> str:
    """The figure as the page shows it; in bold what must not be."""
    if not math.isfinite(figure):
        return "**differs**"
    if exact:
        return "0" if figure == 0 else f"**{figure:.1g}**"
    bound = next((bound for bound in _BOUNDS if figure * _HEADROOM <= bound), None)
    return f"**{figure:.1g}**" if bound is None else f"≤ {bound:.0e}".replace("e-0", "e-")


def _holds(cell: str, figure: float) -> bool:
    if cell == "0":
        return figure == 0
    bound = _BOUND.fullmatch(cell)
    return bound is not None and figure <= float(bound[1])
