"""`headstock show`: everything known about one version."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from headstock.cli.output import format_option
from headstock.errors import FailedPrecondition
from headstock.names import Reference

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.records import Version


@click.command("show")
@click.argument("reference", metavar="NAME[:VERSION|:ALIAS]")
@click.option("--recipe", is_flag=True, help="Print the recipe that made a model, as TOML, and nothing else.")
@format_option
def command(reference: str, recipe: bool, format_: str) -> None:
    """Show one entry: source, digests, licences, lineage, metrics."""
    from headstock.catalogue import Catalogue
    from headstock.catalogue.description import describe
    from headstock.cli.show_page import page

    wanted = Reference.parse(reference)
    with Catalogue.open(create=False) as catalogue:
        version = catalogue.version(wanted)
        if recipe:
            click.echo(_recipe(catalogue, version), nl=False)
        elif format_ == "quiet":
            click.echo(str(version))
        else:
            description = describe(catalogue, version)
            text = json.dumps([description], indent=2, ensure_ascii=False) if format_ == "json" else page(description)
            click.echo(text)


def _recipe(catalogue: Catalogue, version: Version) -> str:
    import tomli_w

    blob = catalogue.artefact(version.subject).files.get("recipe")
    if blob is None:
        raise FailedPrecondition(
            f"{version} is a {version.kind} and has no recipe; a recipe is what fine-tune stores with a model",
            fix="headstock list --kind model",
        )
    return tomli_w.dumps(catalogue.store.read_json(blob))
