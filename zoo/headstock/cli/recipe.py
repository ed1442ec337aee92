"""`headstock recipe`: write, check and compare what decides a fine-tune."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headstock.cli.out_file import out_option, write_out
from headstock.cli.output import emit, format_option
from headstock.cli.recipe_options import plan, recipe_options
from headstock.errors import InvalidInput

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.finetune import Recipe, Table
    from headstock.hookspecs import RecipeCheck
    from headstock.plugin_host import PluginHost


@click.group("recipe")
def command() -> None:
    """Write, check and compare recipes: TOML files that spell everything that decides a fine-tune."""


@command.command("init")
@click.option(
    "--data",
    metavar="FILE|FOLDER",
    type=click.Path(path_type=Path),
    required=True,
    help="Table or folder that it is for; nothing is trained.",
)
@out_option
@recipe_options
def init(data: Path, out: Path | None, **asked: Any) -> None:
    """Write the recipe that `headstock fine-tune` with the same options would run."""
    from headstock.catalogue import Catalogue
    from headstock.finetune import read_table
    from headstock.plugin_host import open_host

    table = read_table(data)
    with Catalogue.open(create=False) as catalogue:
        text = plan(catalogue, open_host(), table, asked).to_toml()
    if out is None:
        click.echo(text, nl=False)
        return
    if out.exists():
        raise InvalidInput(f"{str(out)!r} exists already", fix="another --out, or remove it")
    write_out(out, text, "recipe")


@command.command("validate")
@click.argument("source", metavar="FILE|NAME[:V]")
@click.option(
    "--data", metavar="FILE|FOLDER", type=click.Path(path_type=Path), help="Also ask whether this is its data."
)
@click.option(
    "--target",
    metavar="FILE|FOLDER",
    type=click.Path(path_type=Path),
    help="Also ask whether this is the unlabelled data of an adaptation's recipe.",
)
def validate(source: str, data: Path | None, target: Path | None) -> None:
    """Check a recipe against this catalogue: keys, backbone, tap, layer groups, head type, and with --data the data.

    Takes the recipes of fine-tune, distil, adapt and continue, and those of plugins' commands, as align is one. Exits
    with 2 and says what is wrong where it could not be run.
    """
    from headstock.catalogue import Catalogue
    from headstock.finetune import read_table
    from headstock.finetune.kept_recipe import read_recipe
    from headstock.plugin_host import open_host

    table, unlabelled = (None if path is None else read_table(path) for path in (data, target))
    with Catalogue.open(create=False) as catalogue:
        recipe = read_recipe(catalogue, source)
        _check(catalogue, open_host(), recipe, table, unlabelled)
    what = f"{recipe.head.type} on {recipe.backbone.name} by {recipe.strategy.name}"
    click.echo(f"{source}: {what}; digest {recipe.digest}")


def _check(catalogue: Catalogue, host: PluginHost, recipe: Recipe, table: Table | None, target: Table | None) -> None:
    """Raise unless the command that the recipe is for could run it."""
    from headstock.finetune.prepare import check_recipe
    from headstock.objectives.prepare import check_recipe as check_objective

    if target is not None and recipe.adaptation is None:
        raise InvalidInput("the recipe has no target: it is not one of headstock adapt", fix="leave --target out")
    if recipe.adaptation is not None:
        from headstock.adaptation.plan import check_adaptation

        check_adaptation(catalogue, host, recipe, table, target)
    elif recipe.objective is None:
        check_recipe(catalogue, host, recipe, table)
    elif (own := _plugins_check(host, recipe.objective.name)) is not None:
        own.check(catalogue, host, recipe, table)
    else:
        check_objective(catalogue, host, recipe, table)


def _plugins_check(host: PluginHost, name: str) -> RecipeCheck | None:
    """The check for recipes of that name, unless it is the name of an objective."""
    if any(entry.name == name for entry in host.objectives()):
        return None
    return next((check for check in host.recipe_checks() if check.name == name), None)


@command.command("diff")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@format_option
def diff(first: str, second: str, format_: str) -> None:
    """List the settings in which the recipes A and B differ; each is a FILE or the NAME[:V] of a model.

    Exits with 0 however many there are.
    """
    from headstock.catalogue import Catalogue
    from headstock.finetune.kept_recipe import read_recipe

    with Catalogue.open() as catalogue:
        found = list(differences(read_recipe(catalogue, first), read_recipe(catalogue, second)))
    if format_ == "table" and not found:
        click.echo("the recipes are the same")
        return
    emit(
        format_,
        found,
        headers=["SETTING", "A", "B"],
        row=lambda record: [record["setting"], _shown(record["a"]), _shown(record["b"])],
        name=lambda record: str(record["setting"]),
    )


def differences(first: Recipe, second: Recipe) -> Iterator[dict[str, Any]]:
    """Settings that differ, by dotted key; a side that has none holds None."""
    a, b = dict(_flat(first.to_json())), dict(_flat(second.to_json()))
    for key in dict.fromkeys([*a, *b]):
        if a.get(key) != b.get(key):
            yield {"setting": key, "a": a.get(key), "b": b.get(key)}


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{path}.{index}")
    else:
        yield path, value


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
