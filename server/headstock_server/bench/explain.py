"""`headstock explain-batches`: a table of a batch trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from headstock.errors import InvalidInput
from headstock_server.bench.dominant import dominant
from headstock_server.bench.table import table

COLUMNS = ("at ms", "reason", "rows", "longest", "tokens", "budget", "full", "waste", "waited ms", "ran ms", "models")


@click.command("explain-batches")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def explain_batches(file: Path) -> None:
    """Say why each pass in FILE, from `serve --batch-trace`, was released, how full it was and whose rows it held.

    A model whose adapter has nearly all rows of the graph with adapters is named below the table.
    """
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    rows = [_cells(text, number) for number, text in enumerate(lines, 1)]
    click.echo(table([COLUMNS, *rows]))
    for line in dominant(map(json.loads, lines)):
        click.echo(f"\n{line}")


def _cells(text: str, number: int) -> tuple[str, ...]:
    """The cells of one pass; raises `InvalidInput` for a line that is not one."""
    try:
        item: dict[str, Any] = json.loads(text)
        budget, padded = item["budget_tokens"], item["padded_tokens"]
        return (
            f"{item['at_ms']:.1f}",
            item["reason"] or "-",
            str(item["rows"]),
            str(item["longest"]),
            str(padded),
            str(budget or "-"),
            f"{padded / budget:.0%}" if budget else "-",
            f"{item['waste']:.0%}",
            f"{item['waited_ms']:.1f}",
            f"{item['ran_ms']:.1f}",
            " ".join(f"{name}={rows}" for name, rows in item["models"].items()),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"line {number} of the batch trace is {text[:60]!r}; expected the JSON of one pass",
            fix="record one with: headstock serve --batch-trace FILE",
        ) from error
