"""`headstock remove`: take a version or an entry out of the catalogue."""

from __future__ import annotations

import click

from headstock.names import Reference


@click.command("remove")
@click.argument("reference", metavar="NAME[:VERSION|:ALIAS]")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say what would go, change nothing.")
@click.option("--reason", default="", help="Why; kept in the audit log.")
def command(reference: str, yes: bool, dry_run: bool, reason: str) -> None:
    """Remove an entry or a version.

    NAME removes all versions and aliases of the entry, NAME:3 one version. Its number is never given again; its files
    go with the next 'headstock gc'.
    """
    from headstock.catalogue import Catalogue

    wanted = Reference.parse(reference)
    with Catalogue.open(create=False) as catalogue:
        number = catalogue.version(wanted).number if wanted.selector else None
        gone = catalogue.check_removal(wanted.name, number)
        aliases = [] if number is not None else list(catalogue.aliases(wanted.name))
        plan = ", ".join(map(str, gone)) + (f" and the aliases {', '.join(aliases)}" if aliases else "")
        if dry_run:
            click.echo(f"would remove {plan}")
            return
        if not yes:
            click.confirm(f"remove {plan}?", abort=True)
        catalogue.remove(wanted.name, number, reason=reason)
    click.echo(f"removed {plan}; 'headstock gc' frees the disk")
