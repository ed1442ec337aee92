"""How a measurement prints: one JSON object for programs, a table for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from headstock_server.bench.measure import Measured
from headstock_server.bench.table import table


def record(measured: Measured, load: Mapping[str, Any], search: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The object of `--format json`: `load`, the figures, the windows, the requests sent, and the search."""
    return {
        "load": dict(load),
        **asdict(measured.figures),
        "stable": measured.stable,
        "windows": [asdict(window) for window in measured.windows],
        "requests": measured.requests,
        "models": dict(measured.models),
        "search": None if search is None else dict(search),
    }


def render(items: Sequence[Mapping[str, Any]], format_: str) -> str:
    """Records as text: one alone in full, several as a row each."""
    if format_ == "json":
        return json.dumps(items[0] if len(items) == 1 else items, indent=2)
    return _alone(items[0]) if len(items) == 1 else _rows(items)


def _rows(items: Sequence[Mapping[str, Any]]) -> str:
    names = list(items[0]["latency_ms"])
    header = ("load", "answers/s", *(f"{name} ms" for name in names), "errors", "stable")
    rows = [
        (
            _load(item["load"]),
            f"{item['rate']:.1f}",
            *(_ms(item["latency_ms"][name]) for name in names),
            _errors(item),
            _stable(item) or "-",
        )
        for item in items
    ]
    return table([header, *rows])


def _alone(item: Mapping[str, Any]) -> str:
    latency: Mapping[str, float | None] = item["latency_ms"]
    rows = [
        ("load", _load(item["load"])),
        ("answers/s", f"{item['rate']:.1f}"),
        *((f"{name} ms", _ms(value)) for name, value in latency.items()),
        ("errors", _errors(item)),
        ("counted", f"{item['counted']} of {item['requests']} requests, in {item['seconds']:.1f} s"),
        ("sent late p99 ms", _ms(item["late_ms"])),
    ]
    if stable := _stable(item):
        rows.append(("stable", stable))
    if search := item["search"]:
        bound = f"p{search['percentile']:g} under {search['bound_ms']:g} ms"
        rows.append(("highest rate", f"{search['rate']:.1f}/s with {bound}, in {len(search['trials'])} trials"))
    return table([("what", "value"), *rows])


def _errors(item: Mapping[str, Any]) -> str:
    return ", ".join(f"{code} {n}" for code, n in item["errors"].items()) or "0"


def _stable(item: Mapping[str, Any]) -> str:
    if item["stable"] is None:
        return ""
    return f"{'yes' if item['stable'] else 'NO'}, after {len(item['windows'])} windows"


def _load(load: Mapping[str, Any]) -> str:
    if load["loop"] == "closed":
        return f"closed, {load['concurrency']} callers"
    return f"open, {load['rate']:.1f}/s, {load['arrivals']}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
