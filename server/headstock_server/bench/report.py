"""How a measurement prints: one JSON object for programs, a table for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
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


def render(item: Mapping[str, Any], format_: str) -> str:
    """A record as text."""
    if format_ == "json":
        return json.dumps(item, indent=2)
    latency: Mapping[str, float | None] = item["latency_ms"]
    rows = [
        ("load", _load(item["load"])),
        ("answers/s", f"{item['rate']:.1f}"),
        *((f"{name} ms", _ms(value)) for name, value in latency.items()),
        ("errors", ", ".join(f"{code} {n}" for code, n in item["errors"].items()) or "0"),
        ("counted", f"{item['counted']} of {item['requests']} requests, in {item['seconds']:.1f} s"),
        ("sent late p99 ms", _ms(item["late_ms"])),
    ]
    if item["stable"] is not None:
        rows.append(("stable", f"{'yes' if item['stable'] else 'NO'}, after {len(item['windows'])} windows"))
    if search := item["search"]:
        bound = f"p{search['percentile']:g} under {search['bound_ms']:g} ms"
        rows.append(("highest rate", f"{search['rate']:.1f}/s with {bound}, in {len(search['trials'])} trials"))
    return table([("what", "value"), *rows])


def _load(load: Mapping[str, Any]) -> str:
    if load["loop"] == "closed":
        return f"closed, {load['concurrency']} callers"
    return f"open, {load['rate']:.1f}/s, {load['arrivals']}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
