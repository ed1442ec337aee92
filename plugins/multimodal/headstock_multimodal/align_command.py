"""`headstock align`: both towers of a checkpoint, tuned on pairs of images and texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from headstock.errors import InvalidInput
from headstock.names import Reference, check_name

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.finetune import Recipe, Table
    from headstock.finetune.observer import Observer
    from headstock.plugin_host import PluginHost
    from headstock_multimodal.align import Aligned


@click.command("align")
@click.option("--backbone", metavar="NAME[:V]", help="Image tower.")
@click.option("--text-backbone", metavar="NAME[:V]", help="Text tower of the same space.")
@click.option(
    "--data",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Table of pairs: a column with images' paths and one with texts.",
)
@click.option("--name", required=True, help="The towers become NAME-image and NAME-text.")
@click.option("--image-column", metavar="COLUMN", help="Column with the images' paths.  [default: guessed]")
@click.option("--text-column", metavar="COLUMN", help="Column with the texts.  [default: guessed]")
@click.option(
    "--last-n",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Layer groups of each tower that learn too, counted from its output; 0 keeps the towers frozen.",
)
@click.option("--epochs", type=click.IntRange(1), default=30, show_default=True, help="Most epochs to train.")
@click.option("--batch-size", type=click.IntRange(2), default=64, show_default=True, help="Pairs per step.")
@click.option("--lr", type=float, default=1e-4, show_default=True, help="Learning rate of the projections.")
@click.option("--backbone-lr", type=float, default=1e-5, show_default=True, help="Learning rate of --last-n's groups.")
@click.option("--patience", type=click.IntRange(0), default=10, show_default=True, help="Epochs without gain.")
@click.option("--validation", type=float, default=0.2, show_default=True, help="Share of pairs that are held out.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of split and order.")
@click.option("--recipe", metavar="FILE|NAME[:V]", help="Repeat a recipe; decides everything but data and name.")
@click.option("--data-licence", metavar="ID", default="", help="Licence of the data, as you state it: an SPDX id.")
@click.option("--verbose", is_flag=True, help="One line per epoch.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json", "quiet"]),
    default="table",
    show_default=True,
    help="table for people, json for programs, quiet for one name a line.",
)
@click.pass_context
def align_command(
    context: click.Context,
    /,
    data: Path,
    name: str,
    recipe: str | None,
    data_licence: str,
    verbose: bool,
    format_: str,
    **asked: Any,
) -> None:
    """Tune two towers on pairs of images and texts.

    Learns both projections and the temperature, so that each half of a pair finds the other; the towers below stay
    frozen but for --last-n. The result is two new backbones in a space of their own: make models on them with
    'headstock vectors' and 'headstock zero-shot'. Interrupted runs continue when the same command is run again.

    \b
    headstock align --backbone clip-vision --text-backbone clip-text --data catalogue.csv --name shop
    headstock align --backbone clip-vision --text-backbone clip-text --data catalogue.csv --name shop --last-n 2
    """
    check_name(name)
    _check(context, asked, recipe)
    from headstock.catalogue import Catalogue
    from headstock.finetune import read_table
    from headstock.finetune.kept_recipe import read_recipe
    from headstock.plugin_host import open_host
    from headstock_multimodal.align import align

    table = read_table(data)
    with Catalogue.open() as catalogue:
        host = open_host()
        chosen = read_recipe(catalogue, recipe) if recipe else _plan(catalogue, host, table, asked)
        made = align(catalogue, host, chosen, table, name, observer=_observer(verbose), data_licence=data_licence)
    _print(made, format_)


def _check(context: click.Context, asked: Mapping[str, Any], recipe: str | None) -> None:
    """Raise `InvalidInput` for what is missing, contradicts the recipe or is no number that a rate can be."""
    said = [key for key in asked if context.get_parameter_source(key) is ParameterSource.COMMANDLINE]
    if recipe is not None and said:
        option = "--" + said[0].replace("_", "-")
        raise InvalidInput(f"{option} is decided by the recipe {recipe!r}", fix=f"leave {option} out")
    for key in ("backbone", "text_backbone"):
        if recipe is None and asked[key] is None:
            option = "--" + key.replace("_", "-")
            raise InvalidInput(f"{option} is missing", fix=f"{option} NAME; headstock list --kind backbone")
    for key in ("lr", "backbone_lr"):
        if not 0 < asked[key] < float("inf"):
            option = "--" + key.replace("_", "-")
            raise InvalidInput(f"{option} {asked[key]} is not usable; expected a number above 0", fix=f"{option} 1e-4")
    if "backbone_lr" in said and not asked["last_n"]:
        raise InvalidInput("--backbone-lr says how layer groups learn, and none does", fix="--last-n 1")


def _plan(catalogue: Catalogue, host: PluginHost, table: Table, asked: Mapping[str, Any]) -> Recipe:
    from headstock.backbone.restore import restore
    from headstock_multimodal.align import Alignment, plan_alignment
    from headstock_multimodal.heads.towers import find_tower

    columns = {role: asked[f"{role}_column"] for role in ("image", "text")}
    alignment = Alignment(
        columns={role: column for role, column in columns.items() if column is not None},
        last_n=asked["last_n"],
        epochs=asked["epochs"],
        batch_size=asked["batch_size"],
        learning_rate=asked["lr"],
        backbone_rate=asked["backbone_lr"],
        patience=asked["patience"],
        validation=asked["validation"],
        seed=asked["seed"],
    )
    image, text = (find_tower(catalogue, Reference.parse(asked[key])) for key in ("backbone", "text_backbone"))
    # Finding out what groups there are costs loading both.
    groups = {
        role: restore(catalogue, host, tower.digest, tower.name).group_names
        for role, tower in (("image", image), ("text", text))
        if asked["last_n"]
    }
    return plan_alignment(image, text, table, alignment, groups)


def _observer(verbose: bool) -> Observer:
    """One that says on stderr what a person should read."""
    from headstock.finetune.observer import Observer

    class Lines(Observer):
        """Lines, as they come."""

        def say(self, message: str) -> None:
            """Print at once."""
            click.echo(message, err=True)

        def epoch(self, figures: Mapping[str, Any]) -> None:
            """Print one epoch's figures, if asked."""
            if verbose:
                told = (f"{name} {figures[name]:.4f}" for name in ("loss", "validation_loss", "recall_at_1", "seconds"))
                click.echo(f"epoch {figures['epoch']}: {', '.join(told)}", err=True)

    return Lines()


def _print(made: Aligned, format_: str) -> None:
    if format_ == "json":
        click.echo(json.dumps({"image": str(made.image), "text": str(made.text), **made.report}, indent=2))
        return
    click.echo(f"{made.image}\n{made.text}")
    if format_ == "quiet":
        return
    found = made.report["retrieval"]
    for way in ("image_to_text", "text_to_image"):
        scores = ", ".join(
            f"{one['before']['value']:.3f} to {one['after']['value']:.3f} at {k}" for k, one in found[way].items()
        )
        click.echo(f"  recall {way.replace('_', ' ')}: {scores}")
    gain = found["gain"]
    click.echo(
        f"  gain at 1 over both ways {gain['value']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}] on "
        f"{found['pairs']} held-out pairs"
    )
    if gain["verdict"] == "negative":
        click.echo("  verdict negative: promote refuses both towers and what stands on them, unless --force --reason")
    click.echo(f"next:\n  headstock vectors --backbone {made.image} --name pictures")
