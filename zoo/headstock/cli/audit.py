"""`headstock audit`: the hash-chained log of every change and decision."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click

from headstock.cli.output import emit, format_option


@click.group("audit")
def command() -> None:
    """Read the audit log, and check that nobody changed it."""


@command.command("verify")
@click.pass_context
def verify(ctx: click.Context) -> None:
    """Check the chain of the audit log from its first event to its last.

    Exit code 0 when it is whole, 1 otherwise.
    """
    from headstock.catalogue import Catalogue

    with Catalogue.open(create=False) as catalogue:
        faults = catalogue.audit_faults()
        newest = catalogue.events(1)
    for fault in faults:
        click.echo(f"audit: {fault}")
    head = f", head {newest[0].hash}" if newest else ""
    click.echo(f"{'whole' if not faults else f'{len(faults)} faults'}: {newest[0].id if newest else 0} events{head}")
    ctx.exit(0 if not faults else 1)


@command.command("log")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many events, newest first.")
@format_option
def log(limit: int, format_: str) -> None:
    """List the latest events."""
    from headstock.catalogue import Catalogue

    with Catalogue.open(create=False) as catalogue:
        events = catalogue.events(limit)
    emit(
        format_,
        [asdict(event) for event in events],
        headers=("EVENT", "AT", "ACTOR", "ACTION", "SUBJECT", "DETAIL"),
        row=_row,
        name=lambda record: str(record["id"]),
    )


def _row(record: Mapping[str, Any]) -> list[str]:
    detail = json.dumps(record["detail"], ensure_ascii=False)
    shown = detail if len(detail) <= 100 else f"{detail[:97]}..."
    return [str(record["id"]), record["at"], record["actor"], record["action"], record["subject"][:40], shown]
