"""A picture of latencies over loads, as SVG that needs nothing else to be shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from xml.sax.saxutils import escape

from headstock_server.bench.figures import Figures

_LEFT, _TOP, _WIDTH, _HEIGHT, _RIGHT, _BOTTOM = 70, 40, 560, 320, 70, 50
_COLOURS = ("#3465a4", "#4e9a06", "#c17d11", "#a40000", "#75507b")
_STEPS = (1, 2, 5)
_LINE = 15


@dataclass(frozen=True, slots=True)
class Point:
    """One load and what was measured under it."""

    load: float
    """Requests a second, or callers."""
    figures: Figures


def picture(title: str, across: str, points: Sequence[Point], bound_ms: float | None = None) -> str:
    """Latency percentiles in milliseconds, on a logarithmic axis, over the loads, whose axis `across` names.

    A load with errors has hollow points; one without an answer has none. `bound_ms` is drawn as a dashed line.
    """
    points = sorted(points, key=lambda point: point.load)
    names = [name for name in points[0].figures.latency_ms if name != "mean"]
    values = [v for p in points for n in names if (v := p.figures.latency_ms[n])]
    scale = _Scale([p.load for p in points], [*values, *([bound_ms] if bound_ms else [])])
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{_LEFT + _WIDTH + _RIGHT}" '
        f'height="{_TOP + _HEIGHT + _BOTTOM}" font-size="13" font-family="system-ui, sans-serif">',
        f"<title>{escape(title)}</title>",
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_LEFT}" y="20" font-weight="bold">{escape(title)}</text>',
        *_axes(scale, across),
    ]
    if bound_ms:
        y = scale.y(bound_ms)
        lines.append(
            f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{y}" y2="{y}" stroke="#888" stroke-dasharray="6 4"/>'
        )
    ends: list[_End] = []
    for place, name in enumerate(names):
        curve, end = _curve(scale, points, name, _COLOURS[place % len(_COLOURS)])
        lines += curve
        ends += end
    lines += _labels(ends)
    return "\n".join([*lines, "</svg>", ""])


class _Scale:
    """Where loads and latencies lie in the picture."""

    def __init__(self, loads: Sequence[float], latencies: Sequence[float]) -> None:
        self.most = max(loads)
        self.ticks = _ticks(min(latencies, default=1.0), max(latencies, default=10.0))

    def x(self, load: float) -> float:
        return round(_LEFT + _WIDTH * load / self.most, 1)

    def y(self, latency: float) -> float:
        low, high = math.log(self.ticks[0]), math.log(self.ticks[-1])
        return round(_TOP + _HEIGHT * (high - math.log(latency)) / (high - low), 1)


def _ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, ... from at most `low` to more than `high`."""
    decades = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 2)
    every = [step * 10.0**decade for decade in decades for step in _STEPS]
    first = max(place for place, tick in enumerate(every) if tick <= low * 1.0001)
    last = min(place for place, tick in enumerate(every) if tick > high)
    return every[first : last + 1]


def _axes(scale: _Scale, across: str) -> list[str]:
    bottom = _TOP + _HEIGHT
    lines = []
    for tick in scale.ticks:
        y = scale.y(tick)
        lines.append(f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{y}" y2="{y}" stroke="#e0e0e0"/>')
        lines.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{tick:g} ms</text>')
    for part in range(5):
        load = scale.most * part / 4
        lines.append(f'<text x="{scale.x(load)}" y="{bottom + 20}" text-anchor="middle">{load:.4g}</text>')
    lines.append(f'<text x="{_LEFT + _WIDTH / 2}" y="{bottom + 40}" text-anchor="middle">{escape(across)}</text>')
    return lines


class _End(NamedTuple):
    """Where a curve ends, to be labelled there."""

    y: float
    x: float
    name: str
    colour: str


def _curve(scale: _Scale, points: Sequence[Point], name: str, colour: str) -> tuple[list[str], list[_End]]:
    seen = [(point, value) for point in points if (value := point.figures.latency_ms[name])]
    if not seen:
        return [], []
    places = [(scale.x(point.load), scale.y(value)) for point, value in seen]
    path = " ".join(f"{x},{y}" for x, y in places)
    lines = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for (x, y), (point, _) in zip(places, seen, strict=True):
        fill = "white" if point.figures.errors else colour
        lines.append(f'<circle cx="{x}" cy="{y}" r="4" fill="{fill}" stroke="{colour}"/>')
    x, y = places[-1]
    return lines, [_End(y, x, name, colour)]


def _labels(ends: Sequence[_End]) -> list[str]:
    """The names of the curves beside their ends, from the top, each at least a line below the one before."""
    lines, free = [], 0.0
    for end in sorted(ends):
        y = max(end.y + 4, free)
        free = y + _LINE
        lines.append(f'<text x="{end.x + 8}" y="{y}" fill="{end.colour}">{escape(end.name)}</text>')
    return lines
