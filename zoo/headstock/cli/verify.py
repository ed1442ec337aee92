"""`headstock verify`: check every record and blob against its digest, or one version against its signature."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headstock.cli.output import format_option, human_size, visible

if TYPE_CHECKING:
    from headstock.catalogue import VerifyReport


@click.command("verify")
@click.argument("reference", metavar="[NAME[:VERSION]]", required=False)
@click.option("--key", type=click.Path(path_type=Path, dir_okay=False), help="Public key, PEM: check a signature.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="With --key: a signed folder.")
@click.option("--repair", is_flag=True, help="Move corrupt blobs aside and clear files of writers that died.")
@format_option
@click.pass_context
def command(
    ctx: click.Context, reference: str | None, key: Path | None, folder: Path | None, repair: bool, format_: str
) -> None:
    """Check every record and blob against its digest; with --key, a version or a folder against its signature.

    Exit code 0 when all is well, 1 otherwise. quiet prints the versions that cannot be trusted.
    """
    from headstock.catalogue import Catalogue

    if key is not None:
        _verify_signature(reference, key, folder)
        return
    if reference is not None or folder is not None:
        raise click.UsageError("a name or --folder needs --key PUBLIC_KEY; without them the whole catalogue is checked")
    with Catalogue.open(create=False) as catalogue:
        report = catalogue.verify(repair=repair)
    if format_ == "json":
        click.echo(json.dumps([{"clean": report.clean, **asdict(report)}], indent=2, ensure_ascii=False))
    elif format_ == "quiet":
        for version in sorted({v for problem in report.problems for v in problem.versions}):
            click.echo(version)
    else:
        _print(report, repair)
    ctx.exit(0 if report.clean else 1)


def _verify_signature(reference: str | None, key: Path, folder: Path | None) -> None:
    """Check what the catalogue holds of a version, or an exported folder (and that it is of the version, if named)."""
    from headstock.catalogue import Catalogue
    from headstock.names import Reference
    from headstock.signing import verify_folder, verify_version
    from headstock.signing.kept import check_record

    if reference is None and folder is None:
        raise click.UsageError("say which version, or --folder FOLDER")
    if folder is not None:
        verify_folder(folder, key)
    if reference is not None:
        with Catalogue.open(create=False) as catalogue:
            version = catalogue.version(Reference.parse(reference))
            if folder is None:
                verify_version(catalogue, version, key)
            else:
                check_record(folder, version)
    click.echo(f"the signature of {reference or folder} holds")


def _print(report: VerifyReport, repair: bool) -> None:
    for problem in report.problems:
        click.echo(f"{problem.kind}: {visible(problem.message)}")
        if problem.versions:
            click.echo(f"  affects {', '.join(problem.versions)}")
        if problem.repaired:
            click.echo(f"  {problem.repaired}")
        if problem.fix:
            click.echo(f"  try: {problem.fix}")
    if report.temporaries:
        done = "cleared" if repair else "left by writers that died; --repair or gc clears them"
        click.echo(f"{report.temporaries} temporary files {done}")
    click.echo(
        f"{'clean' if report.clean else f'{len(report.problems)} problems'}: "
        f"{report.versions} versions, {report.artefacts} artefacts, {report.events} events, "
        f"{report.blobs} blobs ({human_size(report.bytes)}) checked"
    )
