"""`headstock diff`: two models side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from headstock.cli.output import table, visible


@click.command("diff")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table", show_default=True)
def command(first: str, second: str, format_: str) -> None:
    """Compare two models: recipes, metrics with intervals, and how many validation rows they answer differently.

    A and B are NAME[:VERSION|:ALIAS]; NAME alone means its newest version.
    """
    from headstock.catalogue import Catalogue
    from headstock.cli.recipe import differences
    from headstock.cli.recipe_options import read_recipe
    from headstock.report.compare import compare
    from headstock.report.read import read_report

    with Catalogue.open(create=False) as catalogue:
        (one, report), (other, newer) = read_report(catalogue, first), read_report(catalogue, second)
        settings = list(differences(read_recipe(catalogue, str(one)), read_recipe(catalogue, str(other))))
    found = {"a": str(one), "b": str(other), "recipe": settings, **compare(report, newer)}
    click.echo(json.dumps(found, indent=2, ensure_ascii=False) if format_ == "json" else _page(found))


def _page(found: Mapping[str, Any]) -> str:
    headers = ["", found["a"], found["b"]]
    parts = [
        table(["SETTING", *headers[1:]], [[s["setting"], _shown(s["a"]), _shown(s["b"])] for s in found["recipe"]])
        if found["recipe"]
        else "the recipes are the same",
        table(["METRIC", *headers[1:]], [[m["name"], _figure(m["a"]), _figure(m["b"])] for m in found["metrics"]]),
    ]
    answers = found["answers"]
    parts.append(
        "answers cannot be compared: the validation rows are not the same, or were not kept"
        if answers is None
        else f"{answers['changed']} of {answers['rows']} validation rows are answered differently"
    )
    return "\n\n".join(parts)


def _figure(metric: Mapping[str, Any] | None) -> str:
    return "-" if metric is None else f"{metric['value']:.3f} [{metric['low']:.3f}, {metric['high']:.3f}]"


def _shown(value: Any) -> str:
    return "-" if value is None else visible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
