"""`headstock gc`: delete the blobs that nothing needs."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from headstock.cli.output import format_option, human_size
from headstock.digest import short


@click.command("gc")
@click.option("--dry-run", is_flag=True, help="Say what would go, delete nothing.")
@format_option
def command(dry_run: bool, format_: str) -> None:
    """Delete blobs that nothing needs.

    Versions, the targets of aliases, what running servers have leased and what a running pull or fine-tune writes all
    stay.
    """
    from headstock.catalogue import Catalogue

    with Catalogue.open(create=False) as catalogue:
        report = catalogue.gc(dry_run=dry_run)
    if format_ == "json":
        click.echo(json.dumps([asdict(report)], indent=2))
        return
    if format_ == "quiet":
        for blob in report.blobs:
            click.echo(blob)
        return
    if dry_run:
        for blob in report.blobs:
            click.echo(short(blob))
    verb = "would delete" if dry_run else "deleted"
    click.echo(f"{verb} {len(report.blobs)} blobs ({human_size(report.bytes)}), {len(report.artefacts)} records")
    click.echo(f"kept {report.kept} blobs" + (f", and {report.young} that are being written" if report.young else ""))
