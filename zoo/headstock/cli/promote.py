"""`headstock promote`: point an alias at a version."""

from __future__ import annotations

import click

from headstock.names import Reference, check_alias
from headstock.records import PRODUCTION


@click.command("promote")
@click.argument("reference", metavar="NAME[:VERSION|:ALIAS]")
@click.argument("alias", default=PRODUCTION)
@click.option("--reason", default="", help="Why; kept in the alias's history.")
@click.option("--force", is_flag=True, help="Promote in spite of negative transfer; needs --reason.")
def command(reference: str, alias: str, reason: str, force: bool) -> None:
    """Move ALIAS (default: production) to a version.

    NAME alone means its newest version. Servers that run follow without a restart. A version whose licences deny the
    use that policy.toml describes is refused; so is one with negative transfer in its report or in that of its
    backbone, unless with --force.
    """
    from headstock.catalogue import Catalogue
    from headstock.licences import enforcement
    from headstock.report.gate import check_promotion

    wanted = Reference.parse(reference)
    check_alias(alias)
    with Catalogue.open(create=False) as catalogue:
        # Without a selector the newest is meant: "production" would promote what is promoted already.
        version = catalogue.version(wanted) if wanted.selector else catalogue.newest(wanted.name)
        reason = check_promotion(catalogue, version, force=force, reason=reason)
        change, warnings = enforcement.promote(catalogue, version, alias, reason=reason)
    if change.previous == change.number:
        click.echo(f"{change.name}:{alias} stays at version {change.number}")
    else:
        before = "new" if change.previous is None else f"was version {change.previous}"
        click.echo(f"{change.name}:{alias} is now version {change.number} ({before})")
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
