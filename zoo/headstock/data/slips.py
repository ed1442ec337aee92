"""Labels that are probably other labels misspelt: one typo makes a class of its own, which no error would show."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher

from headstock.data.table import Table

_ALIKE = 0.85
"""Least share of characters in common, by `difflib`."""
_RARE, _TIMES = 2, 3
"""A slip is made at most so often, and the label that was meant stands at least so many times as often."""
_SHORTEST = 4
"""Characters; among shorter names one letter makes another word."""
_MOST = 200
"""Rare labels that are looked at; where there are more, rare is what labels are."""


def slips(counts: Mapping[str, int]) -> dict[str, str]:
    """Label to the one that was probably meant; `counts` says how many rows have each.

    Labels that differ in case and spaces only, and rare ones that are a letter away from a common one. Names that
    differ in a number are different on purpose.
    """
    found = _same_but_for_case(counts)
    rare = [label for label, count in counts.items() if count <= _RARE and label not in found]
    for label in rare if len(rare) <= _MOST else []:
        others = [other for other, count in counts.items() if count >= _TIMES * counts[label] and other not in found]
        near = [(alike, other) for other in others if (alike := _alike(label, other)) >= _ALIKE]
        if near:
            found[label] = max(near)[1]
    return found


def label_warnings(table: Table, labels: Sequence[str], counts: Mapping[str, int]) -> list[str]:
    """One line for every label that looks like a slip, with where it stands."""
    lines = []
    for odd, meant in slips(counts).items():
        rows = [row for row, label in enumerate(labels) if label == odd]
        lines.append(
            f"label {odd!r} ({table.where(rows)}) looks like {meant!r} misspelt, which {counts[meant]} rows have, "
            "and is a class of its own as it stands"
        )
    return lines


def contradictions(table: Table, samples: Sequence[object], labels: Sequence[str]) -> str | None:
    """A line about rows with the same input and another label; None if there are none."""
    said: dict[object, set[str]] = {}
    for sample, label in zip(samples, labels, strict=True):
        said.setdefault(sample, set()).add(label)
    rows = [row for row, sample in enumerate(samples) if len(said[sample]) > 1]
    return f"{len(rows)} rows contradict each other: same input, other label ({table.where(rows)})" if rows else None


def _plain(label: str) -> str:
    return " ".join(label.split()).casefold()


def _same_but_for_case(counts: Mapping[str, int]) -> dict[str, str]:
    groups: dict[str, list[str]] = {}
    for label in counts:
        groups.setdefault(_plain(label), []).append(label)
    found = {}
    for group in groups.values():
        # Equally common ones: the first in the file is taken for the one that was meant.
        meant = max(group, key=lambda label: counts[label])
        found.update({label: meant for label in group if label != meant})
    return found


def _alike(label: str, other: str) -> float:
    one, two = _plain(label), _plain(other)
    # "incomplete" is no slip of "complete".
    if min(len(one), len(two)) < _SHORTEST or abs(len(one) - len(two)) > 1:
        return 0.0
    if re.findall(r"\d+", one) != re.findall(r"\d+", two):
        return 0.0
    matcher = SequenceMatcher(None, one, two, autojunk=False)
    return matcher.ratio() if matcher.real_quick_ratio() >= _ALIKE and matcher.quick_ratio() >= _ALIKE else 0.0
