"""What a report page is made of: headings with text, a table, plots and a command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure with its interval, to be drawn."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Section:
    """One heading with what stands under it; empty parts are left out."""

    title: str
    text: Sequence[str] = ()
    headers: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    bars: Sequence[Bar] = ()
    command: str = ""


def with_interval(found: Mapping[str, Any]) -> str:
    """`0.875 [0.811, 0.920]`: a value with its interval."""
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def bar_of(name: str, found: Mapping[str, Any]) -> Bar:
    """The value and interval of `found` under a name."""
    return Bar(name, found["value"], found["low"], found["high"])


def lines_of(section: Section) -> Iterator[str]:
    """The section's table as Markdown."""
    if section.rows:
        yield "| " + " | ".join(map(_cell, section.headers)) + " |"
        yield "|" + " --- |" * len(section.headers)
        for row in section.rows:
            yield "| " + " | ".join(map(_cell, row)) + " |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
