"""How commands print: a borderless table for people, JSON for programs, names alone for shells."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from headstock.records import Version

F = TypeVar("F", bound=Callable[..., Any])


def format_option(command: F) -> F:
    """The `--format table|json|quiet` option of every command that prints records."""
    option = click.option(
        "--format",
        "format_",
        type=click.Choice(["table", "json", "quiet"]),
        default="table",
        show_default=True,
        help="table for people, json for programs, quiet for one name a line.",
    )
    return option(command)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns padded with two spaces between them, no borders; control characters are made visible."""
    cells = [[visible(c) for c in row] for row in rows]
    widths = [max(len(r[i]) for r in [list(headers), *cells]) for i in range(len(headers))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in [list(headers), *cells]]
    return "\n".join(lines)


def emit(
    format_: str,
    records: Sequence[Mapping[str, Any]],
    *,
    headers: Sequence[str],
    row: Callable[[Mapping[str, Any]], Sequence[str]],
    name: Callable[[Mapping[str, Any]], str],
    empty: str = "nothing here yet",
) -> None:
    """Print records in the chosen format."""
    if format_ == "json":
        click.echo(json.dumps(list(records), indent=2, ensure_ascii=False))
    elif format_ == "quiet":
        for record in records:
            click.echo(name(record))
    elif not records:
        click.echo(empty, err=True)
    else:
        click.echo(table(headers, [row(r) for r in records]))


def emit_version(format_: str, version: Version, record: Mapping[str, Any], page: Callable[[], Sequence[str]]) -> None:
    """Print a version that a command has made: `page` for people, name and number with `record` for programs."""
    if format_ == "json":
        named = {"name": version.name, "number": version.number, **record}
        click.echo(json.dumps(named, indent=2, ensure_ascii=False))
    elif format_ == "quiet":
        click.echo(str(version))
    else:
        click.echo("\n".join(page()))


def human_size(size: int) -> str:
    """`90.9 MB`: decimal units, three significant digits."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{int(value)} B" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1000
    raise AssertionError("this is a bug: the loop always returns")


def visible(text: str) -> str:
    """The text with control characters spelled out, so that printing it does nothing but print."""
    # A model card or a label may hold terminal escapes; a listing must never execute them.
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
