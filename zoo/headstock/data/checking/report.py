"""What a check found, as plain data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Severity = Literal["stops", "falsifies", "note"]
"""A fine-tune would refuse it; or would run, and its figures would be wrong; or worth knowing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a person should know."""

    severity: Severity
    message: str
    fix: str | None = None


@dataclass(slots=True)
class Report:
    """Everything about one data set, for one head type."""

    data: str
    head: str
    columns: Mapping[str, str]
    rows: int = 0
    """Of the file, those included that cannot be read."""
    usable: int = 0
    inputs: dict[str, Mapping[str, float]] = field(default_factory=dict)
    """Measure, e.g. `characters`, to its distribution; see `distribution`."""
    kinds: dict[str, int] = field(default_factory=dict)
    """Formats of images or recordings, commonest first."""
    cut: int = 0
    """Rows that the backbone would cut, where one was given."""
    classes: dict[str, int] = field(default_factory=dict)
    """Class, label or type to how many rows (of spans: how many spans) have it, commonest first."""
    targets: dict[str, Mapping[str, float]] = field(default_factory=dict)
    """Measure of the targets to its distribution, where they are no classes."""
    duplicates: int = 0
    """Rows whose input another row has too."""
    split: dict[str, int] = field(default_factory=dict)
    """Rows that would train, validate and stay unused."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def verdict(self) -> Literal["ok", "stops", "falsifies"]:
        """The worst of the findings."""
        found = {finding.severity for finding in self.findings}
        return "stops" if "stops" in found else "falsifies" if "falsifies" in found else "ok"

    @property
    def imbalance(self) -> float | None:
        """Rows of the commonest class for each row of the rarest."""
        counts = self.classes.values()
        return round(max(counts) / min(counts), 2) if len(self.classes) > 1 else None

    def add(self, severity: Severity, message: str, fix: str | None = None) -> None:
        """Note a finding."""
        self.findings.append(Finding(severity, message, fix))

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values, the verdict first."""
        return {"verdict": self.verdict, "imbalance": self.imbalance, **asdict(self)}


def several(count: int, one: str, many: str) -> str:
    """`1 row holds` or `3 rows hold`."""
    return f"{count} {one if count == 1 else many}"


def distribution(values: Iterable[float]) -> Mapping[str, float]:
    """`min`, `median`, `p95` and `max`; each is a value that occurs."""
    ordered = sorted(values)
    last = len(ordered) - 1
    places = {"min": 0, "median": last // 2, "p95": math.ceil(0.95 * last), "max": last}
    return {name: ordered[place] for name, place in places.items()}
