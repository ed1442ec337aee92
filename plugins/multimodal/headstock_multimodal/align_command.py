"""`headstock align`: both towers of a checkpoint, tuned on pairs of images and texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headstock.errors import InvalidInput
from headstock.names import Reference, check_name

if TYPE_CHECKING:
    from headstock.finetune.observer import Observer
    from headstock_multimodal.align import Aligned


@click.command("align")
@click.option("--backbone", required=True, metavar="NAME[:V]", help="Image tower.")
@click.option("--text-backbone", required=True, metavar="NAME[:V]", help="Text tower of the same space.")
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
@click.option("--epochs", type=click.IntRange(1), default=30, show_default=True, help="Most epochs to train.")
@click.option("--batch-size", type=click.IntRange(2), default=64, show_default=True, help="Pairs per step.")
@click.option("--lr", type=float, default=1e-4, show_default=True, help="Learning rate of the projections.")
@click.option("--patience", type=click.IntRange(0), default=10, show_default=True, help="Epochs without gain.")
@click.option("--validation", type=float, default=0.2, show_default=True, help="Share of pairs that are held out.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of split and order.")
@click.option("--data-licence", metavar="ID", default="", help="Licence of the data, as you state it: an SPDX id.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json", "quiet"]),
    default="table",
    show_default=True,
    help="table for people, json for programs, quiet for one name a line.",
)
def align_command(
    backbone: str,
    text_backbone: str,
    data: Path,
    name: str,
    image_column: str | None,
    text_column: str | None,
    epochs: int,
    batch_size: int,
    lr: float,
    patience: int,
    validation: float,
    seed: int,
    data_licence: str,
    format_: str,
) -> None:
    """Tune two towers on pairs of images and texts.

    Learns both projections and the temperature, so that each half of a pair finds the other; the towers below stay
    frozen. The result is two new backbones in a space of their own: make models on them with 'headstock vectors' and
    'headstock zero-shot'.

    \b
    headstock align --backbone clip-vision --text-backbone clip-text --data catalogue.csv --name shop
    """
    check_name(name)
    if not 0 < lr < float("inf"):
        raise InvalidInput(f"--lr {lr} is not usable; expected a number above 0", fix="--lr 1e-4")
    from headstock.catalogue import Catalogue
    from headstock.finetune import read_table
    from headstock.plugin_host import open_host
    from headstock_multimodal.align import Alignment, align, plan_alignment
    from headstock_multimodal.heads.towers import find_tower

    table = read_table(data)
    told = {role: column for role, column in (("image", image_column), ("text", text_column)) if column is not None}
    asked = Alignment(told, epochs, batch_size, lr, patience=patience, validation=validation, seed=seed)
    with Catalogue.open() as catalogue:
        image, text = (find_tower(catalogue, Reference.parse(one)) for one in (backbone, text_backbone))
        recipe = plan_alignment(image, text, table, asked)
        observer = _observer()
        made = align(
            catalogue, open_host(), recipe, table, image, text, name, observer=observer, data_licence=data_licence
        )
    _print(made, format_)


def _observer() -> Observer:
    """One that says on stderr what a person should read."""
    from headstock.finetune.observer import Observer

    class Lines(Observer):
        """Lines, as they come."""

        def say(self, message: str) -> None:
            """Print at once."""
            click.echo(message, err=True)

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
    click.echo(f"next:\n  headstock vectors --backbone {made.image} --name pictures")
