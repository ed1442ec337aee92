"""A recipe that a command repeats, and the file that it is saved in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from headstock.cli.option_values import given
from headstock.cli.out_file import write_out
from headstock.errors import InvalidInput

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.finetune import Recipe, Table


F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--recipe",
        metavar="FILE|NAME[:V]",
        help="Repeat a recipe file, or the recipe of a version; decides everything but data and name.",
    ),
    click.option("--new-data", is_flag=True, help="With --recipe: the data may be another file than the recipe's."),
    click.option(
        "--save-recipe",
        "save_to",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Also write the recipe as TOML.",
    ),
)


def repeat_options(command: F) -> F:
    """`--recipe`, `--new-data` and `--save-recipe` of the commands that train."""
    # Decorators apply from the last to the first.
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def repeated(
    context: click.Context, catalogue: Catalogue, source: str, table: Table, decided: Sequence[str], *, new_data: bool
) -> Recipe:
    """The recipe to run again, of other data with `new_data`.

    Raises `InvalidInput` for an option on the command line that is among the `decided` parameters.
    """
    from headstock.data.dataset import data_digest
    from headstock.finetune.kept_recipe import read_recipe

    if said := given(context, decided):
        raise InvalidInput(
            f"{said[0]} is decided by the recipe {source!r}", fix=f"edit the recipe, or leave {said[0]} out"
        )
    recipe = read_recipe(catalogue, source)
    return recipe.with_data(table.name, data_digest(table, recipe.data.columns)) if new_data else recipe


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write it as TOML; raises `InvalidInput` where that cannot be."""
    write_out(path, recipe.to_toml(), "recipe", option="--save-recipe")
