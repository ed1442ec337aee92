"""`headstock diff`: two models side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from headstock.cli.output import table, visible

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.records import Version


@click.command("diff")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="table for people, json for programs.",
)
def command(first: str, second: str, format_: str) -> None:
    """Compare two models: recipes, metrics with intervals, and how many validation rows they answer differently.

    A and B are NAME[:VERSION|:ALIAS]; NAME alone means its newest version.
    """
    from headstock.catalogue import Catalogue
    from headstock.report.compare import compare
    from headstock.report.read import read_report

    with Catalogue.open(create=False) as catalogue:
        (one, report), (other, newer) = read_report(catalogue, first), read_report(catalogue, second)
        settings, without = _settings(catalogue, one, other)
    found = {"a": str(one), "b": str(other), "recipe": settings, "without_recipe": without, **compare(report, newer)}
    click.echo(json.dumps(found, indent=2, ensure_ascii=False) if format_ == "json" else _page(found))


def _settings(catalogue: Catalogue, one: Version, other: Version) -> tuple[list[dict[str, Any]] | None, list[str]]:
    """Settings that differ, or None with the names of those that no recipe made."""
    from headstock.cli.recipe import differences
    from headstock.finetune.kept_recipe import read_recipe

    without = [str(v) for v in (one, other) if "recipe" not in catalogue.artefact(v.subject).files]
    if without:
        return None, list(dict.fromkeys(without))
    return list(differences(*(read_recipe(catalogue, str(version)) for version in (one, other)))), []


def _page(found: Mapping[str, Any]) -> str:
    headers = ["", found["a"], found["b"]]
    parts = [
        _recipes(found, headers),
        table(["METRIC", *headers[1:]], [[m["name"], _figure(m["a"]), _figure(m["b"])] for m in found["metrics"]]),
    ]
    answers = found["answers"]
    parts.append(
        "answers cannot be compared: the validation rows are not the same, or were not kept"
        if answers is None
        else f"{answers['changed']} of {answers['rows']} validation rows are answered differently"
    )
    return "\n\n".join(parts)


def _recipes(found: Mapping[str, Any], headers: list[str]) -> str:
    if found["recipe"] is None:
        return f"settings cannot be compared: {' and '.join(found['without_recipe'])} was made without a recipe"
    rows = [[s["setting"], _shown(s["a"]), _shown(s["b"])] for s in found["recipe"]]
    return table(["SETTING", *headers[1:]], rows) if rows else "the recipes are the same"


def _figure(metric: Mapping[str, Any] | None) -> str:
    return "-" if metric is None else f"{metric['value']:.3f} [{metric['low']:.3f}, {metric['high']:.3f}]"


def _shown(value: Any) -> str:
    return "-" if value is None else visible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
