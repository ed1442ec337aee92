"""The report as one self-contained HTML page, and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from headstock.records import Version
from headstock.report.section import Bar, Section, lines_of
from headstock.report.sections import sections

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a }
table { border-collapse: collapse; display: block; overflow-x: auto }
td, th { padding: .2rem .8rem .2rem 0; text-align: left }
tr { border-bottom: 1px solid #ddd } pre { background: #f3f3f3; padding: .8rem; overflow-x: auto }
svg { max-width: 100% }
"""
_LABEL, _PLOT, _LINE = 300, 400, 26


def html_page(version: Version, report: Mapping[str, Any]) -> str:
    """One page that loads nothing from anywhere; every text of the report is escaped."""
    body = "\n".join(_html(section) for section in sections(version, report))
    title = escape(str(version))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{_STYLE}</style></head>\n<body><h1>{title}</h1>\n{body}\n</body></html>\n"
    )


def markdown(version: Version, report: Mapping[str, Any]) -> str:
    """The same sections as Markdown, without the plots."""
    parts = [f"# {version}"]
    for section in sections(version, report):
        parts += [f"## {section.title}", *(text.replace("<", "&lt;") for text in section.text)]
        if table := "\n".join(lines_of(section)):
            parts.append(table)
        if section.command:
            parts.append(f"```\n{section.command}\n```")
    return "\n\n".join(parts) + "\n"


def plot(bars: Sequence[Bar]) -> str:
    """Points with their intervals on an axis from 0 to 1, as SVG; what lies outside is drawn at the edge."""
    height = _LINE * (len(bars) + 1)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{_LABEL + _PLOT + 40}" height="{height}" '
        'font-size="13" font-family="system-ui, sans-serif">'
    ]
    for tick in range(6):
        x = _x(tick / 5)
        lines.append(f'<line x1="{x}" x2="{x}" y1="0" y2="{height - _LINE}" stroke="#e0e0e0"/>')
        lines.append(f'<text x="{x}" y="{height - 8}" text-anchor="middle">{tick / 5:.1f}</text>')
    for place, bar in enumerate(bars):
        y = _LINE * place + _LINE // 2
        name = bar.name if len(bar.name) <= 44 else bar.name[:43] + "…"
        lines.append(f'<text x="{_LABEL - 12}" y="{y + 4}" text-anchor="end">{escape(name)}</text>')
        lines.append(
            f'<line x1="{_x(bar.low)}" x2="{_x(bar.high)}" y1="{y}" y2="{y}" stroke="#3465a4" stroke-width="2"/>'
        )
        lines.append(f'<circle cx="{_x(bar.value)}" cy="{y}" r="4" fill="#3465a4"/>')
    return "\n".join([*lines, "</svg>"])


def _x(value: float) -> int:
    return round(_LABEL + _PLOT * min(max(value, 0.0), 1.0))


def _html(section: Section) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>", *(f"<p>{escape(text)}</p>" for text in section.text)]
    if section.bars:
        parts.append(plot(section.bars))
    if section.rows:
        parts.append(
            "<table>" + _row("th", section.headers) + "".join(_row("td", r) for r in section.rows) + "</table>"
        )
    if section.command:
        parts.append(f"<pre>{escape(section.command)}</pre>")
    return "\n".join(parts)


def _row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"
