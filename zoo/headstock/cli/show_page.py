"""The page that `headstock show` prints, made of a description; text only, no catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from headstock.cli.output import human_size, visible
from headstock.digest import short

_SHOWN_ELSEWHERE = {
    "source", "commit", "files", "parity", "agreement", "speeds", "metrics", "majority", "labels", "head", "recipe",
}  # fmt: skip
_WIDTH = 14

Lines = Iterator[str]


def page(description: Mapping[str, Any]) -> str:
    """All groups that have something to say, one blank line between them."""
    groups = (
        ("", _what(description)),
        ("Digests", _digests(description)),
        ("Source", _source(description["details"])),
        ("Files", _files(description["files"])),
        ("Licence", _licence(description["licence"])),
        ("Statements", _statements(description["statements"])),
        ("Lineage", _lineage(description["lineage"], "")),
        ("Isolation", _certificate(description["certificate"])),
        ("Parity", _parity(description["details"].get("parity"))),
        ("Agreement", _agreement(description["details"].get("agreement", {}))),
        ("Speed", _speed(description["details"].get("speeds", ()))),
        ("Metrics", _metrics(description["details"])),
        ("Labels", _labels(description)),
        ("Details", _details(description["details"])),
        ("Aliases", _aliases(description["alias_history"])),
    )
    texts = []
    for title, lines in groups:
        body = [visible(line) for line in lines]
        if body:
            texts.append("\n".join([title, *(f"  {line}" for line in body)] if title else body))
    return "\n\n".join(texts)


def _what(description: Mapping[str, Any]) -> Lines:
    backbone, head = description["backbone"], description["head"]
    marks = [*description["aliases"], *(["newest"] if description["newest"] else [])]
    yield f"{description['name']}:{description['version']}" + (f"  ({', '.join(marks)})" if marks else "")
    family = backbone.get("family", "unknown family")
    if head is None:
        taps = ", ".join(f"{t['name']} {_shape(t['shape'])}" for t in backbone.get("taps", []))
        yield f"a backbone of family {family}, {backbone.get('precision', 'precision not stated')}"
        yield f"taps: {taps or 'none stated'}"
        yield f"inputs: {_inputs(backbone)}; padding rule: {backbone.get('padding', 'not stated')}"
    else:
        holders = ", ".join(backbone["entries"]) or short(backbone["digest"])
        yield f"a model: head {head.get('type')} ({head.get('form')}) on tap {head.get('tap')!r}"
        yield f"of backbone {holders} ({family})"
        yield f"the head takes {head.get('width')} features and gives {head.get('out')} values"
    yield f"made {description['created_at']}"


def _shape(shape: Sequence[int]) -> str:
    return "[" + ", ".join("?" if size < 0 else str(size) for size in shape) + "]"


def _inputs(backbone: Mapping[str, Any]) -> str:
    inputs = backbone.get("inputs", [])
    return ", ".join(f"{i['name']} {i['datatype']} {_shape(i['shape'])}" for i in inputs) or "not stated"


def _digests(description: Mapping[str, Any]) -> Lines:
    for part, digest in description["digests"].items():
        yield f"{part:<{_WIDTH}}{digest}"
    for key in ("weights", "preprocess"):
        if key in description["backbone"]:
            yield f"{key:<{_WIDTH}}{description['backbone'][key]}"


def _source(details: Mapping[str, Any]) -> Lines:
    if "source" in details:
        yield f"{'from':<{_WIDTH}}{details['source']}"
    if "commit" in details:
        yield f"{'commit':<{_WIDTH}}{details['commit'] or 'none: the source has no commits'}"
    files = details.get("files")
    if isinstance(files, Mapping):
        width = max((len(name) for name in files), default=0)
        for name, digest in sorted(files.items()):
            yield f"{name:<{width}}  {digest}"


def _files(files: Sequence[Mapping[str, Any]]) -> Lines:
    rows = [(f["part"], f["role"], human_size(f["size"]), short(f["blob"])) for f in files]
    yield from _columns(rows)
    # Two parts can name one blob; the disk holds it once.
    total = sum({f["blob"]: f["size"] for f in files}.values())
    if files:
        yield f"{human_size(total)} in all"


def _licence(licence: Mapping[str, Any]) -> Lines:
    for conflict in licence["conflicts"]:
        said = " but ".join(f"{value} ({', '.join(sources)})" for value, sources in conflict["values"].items())
        yield f"CONFLICT: the sources of {conflict['kind']} {conflict['label']} declare {said}"
    if not licence["statements"]:
        yield "NOASSERTION: no source states a licence"
    for item in licence["statements"]:
        part = f"the {item['scope']} of " if item["scope"] else ""
        yield f"{item['value']:<{_WIDTH}}{item['source']}, about {part}{item['kind']} {item['label']}"
        yield f"{'':<{_WIDTH}}at {item['locator']}"
        if item["raw"]:
            yield f"{'':<{_WIDTH}}in its words: {' '.join(item['raw'].split())!r}"


def _statements(statements: Sequence[Mapping[str, Any]]) -> Lines:
    for item in statements:
        yield f"{item['field']:<{_WIDTH}}{item['value']}  ({item['source']}: {item['locator']})"


def _lineage(node: Mapping[str, Any], indent: str) -> Lines:
    if not indent:
        yield f"{node['kind']} {node['label']} {short(node['digest'])}"
    for parent in node["parents"]:
        what = f"{parent['kind']} {parent['label']} {short(parent['digest'])}"
        yield f"{indent}  {parent['relation']} {what}"
        yield from _lineage(parent, indent + "  ")


def _certificate(certificate: Mapping[str, Any] | None) -> Lines:
    if certificate is None:
        yield "no certificate: this backbone may not serve shared batches"
        return
    measured, tolerance = certificate["measured"], certificate["tolerance"]
    if certificate["shared"]:
        bits = "bit-equal" if measured == 0 else f"within {measured:.3g} (allowed {tolerance:.3g})"
        yield f"alone and together {bits} on {certificate['provider']}: may share batches"
    else:
        yield f"FAILED: a row moved by {measured:.3g} with its neighbours (allowed {tolerance:.3g})"
        yield "it may not share batches"
    scalars = {k: v for k, v in certificate["detail"].items() if isinstance(v, int | float | str)}
    if scalars:
        yield ", ".join(f"{key} {value}" for key, value in sorted(scalars.items()))


def _parity(parity: Any) -> Lines:
    if isinstance(parity, int | float):
        yield f"the served form differs from torch by at most {parity:.3g}"
    elif isinstance(parity, Mapping):
        rows = [
            (tap, f"differs from torch by at most {found['max_error']:.3g}", f"of {found['scale']:.3g}")
            for tap, found in parity.items()
        ]
        yield from _columns(rows)


def _agreement(agreement: Mapping[str, Mapping[str, float]]) -> Lines:
    """Of a variant with what it was made from."""
    yield from _columns(
        (what, f"differs by at most {found['max_error']:.3g}", f"of {found['scale']:.3g}")
        for what, found in agreement.items()
    )


def _speed(speeds: Sequence[Mapping[str, float]]) -> Lines:
    yield from _columns(
        (f"{s['rows']} x {s['length']}", f"{s['variant_ms']:.2f} ms", f"{s['ratio']:.2f} of what it was made from")
        for s in speeds
    )


def _metrics(details: Mapping[str, Any]) -> Lines:
    rows = [
        (m["name"], f"{m['value']:.4g}", f"[{m['low']:.4g}, {m['high']:.4g}]", f"95 %, {m['method']}")
        for m in details.get("metrics", [])
    ]
    majority = details.get("majority")
    if isinstance(majority, Mapping) and "accuracy" in majority:
        rows.append(("majority", f"{majority['accuracy']:.4g}", "", f"always answering {majority.get('label')!r}"))
    yield from _columns(rows)


def _labels(description: Mapping[str, Any]) -> Lines:
    head = description["head"] or {}
    labels = head.get("postprocess", {}).get("labels", [])
    if labels:
        yield ", ".join(labels)


def _details(details: Mapping[str, Any]) -> Lines:
    for key, value in details.items():
        if key in _SHOWN_ELSEWHERE or value in (None, "", [], {}):
            continue
        if isinstance(value, Mapping):
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        yield f"{key.replace('_', ' '):<{_WIDTH + 2}}{value}"


def _aliases(history: Mapping[str, Sequence[Mapping[str, Any]]]) -> Lines:
    for alias, changes in history.items():
        yield f"{alias} -> {changes[-1]['number']}"
        for change in reversed(changes):
            target = "removed" if change["number"] is None else f"to {change['number']}"
            previous = "" if change["previous"] is None else f" from {change['previous']}"
            reason = f": {change['reason']}" if change["reason"] else ""
            yield f"  {change['at']}  {change['action']} {target}{previous} by {change['actor']}{reason}"


def _columns(rows: Iterable[Sequence[str]]) -> Lines:
    listed = list(rows)
    widths = [max(len(cell) for cell in column) for column in zip(*listed, strict=True)]
    for row in listed:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
