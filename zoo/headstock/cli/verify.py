"""`headstock verify`: check every record and blob against its digest."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from headstock.cli.output import format_option, human_size, visible

if TYPE_CHECKING:
    from headstock.catalogue import VerifyReport


@click.command("verify")
@click.option("--repair", is_flag=True, help="Move corrupt blobs aside and clear files of writers that died.")
@format_option
@click.pass_context
def command(ctx: click.Context, repair: bool, format_: str) -> None:
    """Check every record and blob against its digest.

    Exit code 0 when all is well, 1 otherwise. quiet prints the versions that cannot be trusted.
    """
    from headstock.catalogue import Catalogue

    with Catalogue.open() as catalogue:
        report = catalogue.verify(repair=repair)
    if format_ == "json":
        click.echo(json.dumps([{"clean": report.clean, **asdict(report)}], indent=2, ensure_ascii=False))
    elif format_ == "quiet":
        for version in sorted({v for problem in report.problems for v in problem.versions}):
            click.echo(version)
    else:
        _print(report, repair)
    ctx.exit(0 if report.clean else 1)


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
