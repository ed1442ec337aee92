"""Two reports side by side: metrics with intervals, and answers where both saw the same validation rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def compare(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics of both by name, and `answers`, None where they cannot be compared."""
    a, b = ({metric["name"]: metric for metric in report.get("metrics") or []} for report in (first, second))
    metrics = [{"name": name, "a": a.get(name), "b": b.get(name)} for name in dict.fromkeys([*a, *b])]
    return {"metrics": metrics, "answers": _answers(first, second)}


def _answers(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, int] | None:
    a, b = first.get("validation"), second.get("validation")
    if not a or not b or a["rows"] != b["rows"] or a["answers"] is None or b["answers"] is None:
        return None
    # Labels, not numbers: the two heads may list their classes in different orders.
    pairs = [(first["labels"][x], second["labels"][y]) for x, y in zip(a["answers"], b["answers"], strict=True)]
    return {"rows": len(pairs), "changed": sum(x != y for x, y in pairs)}
