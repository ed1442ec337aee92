"""`headstock sign`: export a version as a signed folder."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("sign")
@click.argument("reference", metavar="NAME[:VERSION]")
@click.option(
    "--key", required=True, type=click.Path(path_type=Path, dir_okay=False), help="Private elliptic-curve key, PEM."
)
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="A new folder.")
def command(reference: str, key: Path, out: Path) -> None:
    """Export a version with LICENSE, NOTICE, model card and bill of materials, and sign every byte of it.

    The signature (OpenSSF model signing) is `model.sig` in the folder. It is kept beside the catalogue too, so that
    `headstock verify NAME --key` and a server whose policy requires signatures find it.
    """
    from headstock.catalogue import Catalogue
    from headstock.names import Reference
    from headstock.signing import sign_version

    with Catalogue.open(create=False) as catalogue:
        version = catalogue.version(Reference.parse(reference))
        signed = sign_version(catalogue, version, key, out)
    click.echo(f"signed {version}: {len(signed)} files in {out}")
