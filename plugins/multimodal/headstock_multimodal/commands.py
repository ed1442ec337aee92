"""`headstock zero-shot` and `headstock vectors`: models on towers of one embedding space, without training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from headstock.errors import InvalidInput
from headstock.names import Reference, check_name


@click.command("zero-shot")
@click.option("--backbone", required=True, metavar="NAME[:V]", help="Image tower that the model stands on.")
@click.option("--text-backbone", required=True, metavar="NAME[:V]", help="Text tower of the same checkpoint.")
@click.option("--class", "classes", multiple=True, metavar="NAME", help="A class, in words; repeatable.")
@click.option(
    "--classes",
    "file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="One class per line.",
)
@click.option(
    "--template",
    "templates",
    multiple=True,
    metavar="TEXT",
    help="A prompt with {} for the class; repeatable, a class is the mean of its prompts.  [default: a photo of a {}.]",
)
@click.option("--name", required=True, help="Name of the model; an existing one gets its next version.")
def zero_shot_command(
    backbone: str,
    text_backbone: str,
    classes: Sequence[str],
    file: Path | None,
    templates: Sequence[str],
    name: str,
) -> None:
    """Make an image classifier of class names.

    No image is needed: the text tower reads the names, and the answer is the nearest. Both towers come from one
    checkpoint.

    \b
    headstock zero-shot --backbone clip-vision --text-backbone clip-text --class cat --class dog --name pets
    """
    from headstock.catalogue import Catalogue
    from headstock.plugin_host import open_host
    from headstock_multimodal.heads import ZeroShot, make_zero_shot
    from headstock_multimodal.heads.towers import find_tower
    from headstock_multimodal.heads.zero_shot import TEMPLATE

    check_name(name)
    asked = ZeroShot((*classes, *(_lines(file) if file else ())), tuple(templates) or (TEMPLATE,))
    with Catalogue.open() as catalogue:
        image = find_tower(catalogue, Reference.parse(backbone))
        text = find_tower(catalogue, Reference.parse(text_backbone))
        version = make_zero_shot(catalogue, open_host(), image, text, asked, name, _say)
    click.echo(f"{version}\n  {len(asked.classes)} classes from {len(asked.prompts)} prompts read by {text.name}")
    click.echo(f"next:\n  headstock predict {version} FILE")


@click.command("vectors")
@click.option("--backbone", required=True, metavar="NAME[:V]", help="Backbone whose vectors are wanted.")
@click.option("--tap", default="embedding", show_default=True, metavar="TAP", help="Output with one vector per row.")
@click.option("--name", required=True, help="Name of the model; an existing one gets its next version.")
def vectors_command(backbone: str, tap: str, name: str) -> None:
    """Make a model that answers a backbone's own vectors.

    Nothing is trained; vectors have length 1. Those of two towers of one checkpoint compare, which is image-text
    retrieval: the nearest picture to a text is the one with the largest product.

    \b
    headstock vectors --backbone clip-vision --name pictures
    headstock vectors --backbone clip-text --name queries
    """
    from headstock.catalogue import Catalogue
    from headstock.plugin_host import open_host
    from headstock_multimodal.heads import make_vectors
    from headstock_multimodal.heads.towers import find_tower

    check_name(name)
    with Catalogue.open() as catalogue:
        tower = find_tower(catalogue, Reference.parse(backbone))
        version = make_vectors(catalogue, open_host(), tower, name, tap, _say)
        space = version.details.get("space")
    click.echo(str(version))
    if space:
        click.echo(f"  compares with vectors of the space {space}")
    click.echo(f"next:\n  headstock predict {version} INPUT --format json")


def _lines(file: Path) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot read the classes in {file.name!r}: expected UTF-8 text, one per line") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _say(line: str) -> None:
    click.echo(line, err=True)
