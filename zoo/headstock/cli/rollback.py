"""`headstock rollback`: point an alias where it pointed before."""

from __future__ import annotations

import click

from headstock.names import check_alias, check_name
from headstock.records import PRODUCTION


@click.command("rollback")
@click.argument("name")
@click.argument("alias", default=PRODUCTION)
@click.option("--reason", default="", help="Why; kept in the alias's history.")
def command(name: str, alias: str, reason: str) -> None:
    """Move ALIAS (default: production) of the entry NAME back to the version it had before.

    Again goes back one step more. Servers that run follow without a restart.
    """
    from headstock.catalogue import Catalogue

    check_name(name)
    check_alias(alias)
    with Catalogue.open(create=False) as catalogue:
        change = catalogue.rollback(name, alias, reason=reason)
    click.echo(f"{name}:{alias} is back at version {change.number} (was version {change.previous})")
