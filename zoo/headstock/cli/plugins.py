"""`headstock plugins`: what is installed and in which state, checks by import, and pins for contested names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import click

from headstock.cli.output import emit, format_option

if TYPE_CHECKING:
    from headstock.plugin_host import PluginHost, PluginState


@click.group("plugins", invoke_without_command=True)
@format_option
@click.pass_context
def command(context: click.Context, format_: str) -> None:
    """List the plugins and their state (the default), check them, or settle who owns a name."""
    if context.invoked_subcommand is None:
        context.invoke(list_, format_=format_)


@command.command("list")
@format_option
def list_(format_: str) -> None:
    """List every installed plugin with its state, the reason and the fix; nothing is imported."""
    from headstock.plugin_host import open_host

    host = open_host()
    warn_of_conflicts(host)
    _emit(format_, host.states())


@command.command("check")
@click.argument("names", nargs=-1, metavar="[PLUGIN]...")
@format_option
@click.pass_context
def check(context: click.Context, names: tuple[str, ...], format_: str) -> None:
    """Import plugins and call their hooks, also those that failed before; exit 1 if any is at fault."""
    from headstock.plugin_host import State, open_host

    host = open_host()
    states = [host.check(name) for name in names or [s.name for s in host.states()]]
    _emit(format_, states)
    if any(s.state in (State.BROKEN, State.INCOMPATIBLE) for s in states):
        context.exit(1)


@command.command("pin")
@click.argument("kind", type=click.Choice(["plugin", "family", "head", "command"]))
@click.argument("name")
@click.argument("distribution")
def pin(kind: str, name: str, distribution: str) -> None:
    """Settle that NAME, which several plugins declare, belongs to DISTRIBUTION."""
    from headstock.plugin_host import open_host
    from headstock.plugin_host.pins import Claim

    open_host().pin(cast(Claim, kind), name, distribution)
    click.echo(f"{kind} {name!r} now belongs to distribution {distribution}", err=True)


def warn_of_conflicts(host: PluginHost, claim: str | None = None) -> None:
    """Say on standard error which names nobody gets, and the command that settles each."""
    for conflict in host.conflicts():
        if claim in (None, conflict.claim):
            error = conflict.error()
            click.echo(f"warning: {error.message}", err=True)
            click.echo(f"try:     {error.fix}", err=True)


def _emit(format_: str, states: list[PluginState]) -> None:
    emit(
        format_,
        [_record(s) for s in states],
        headers=("PLUGIN", "STATE", "API", "LICENCE", "DISTRIBUTION", "OFFERS"),
        row=_row,
        name=lambda r: r["name"],
        empty="no plugins are installed",
    )
    if format_ == "table":
        for state in states:
            if state.reason:
                click.echo(f"\n{state.name}: {state.reason}")
                if state.fix:
                    click.echo(f"try: {state.fix}")


def _record(state: PluginState) -> dict[str, Any]:
    manifest = state.manifest
    return {
        "name": state.name,
        "state": str(state.state),
        "reason": state.reason,
        "fix": state.fix,
        "distribution": state.distribution,
        "version": state.version,
        "api": manifest.api if manifest else None,
        "licence": manifest.licence if manifest else None,
        "description": manifest.description if manifest else None,
        "capabilities": list(manifest.capabilities) if manifest else [],
        "families": [f.name for f in manifest.families] if manifest else [],
        "heads": [h.name for h in manifest.heads] if manifest else [],
        "commands": [c.name for c in manifest.commands] if manifest else [],
    }


def _row(record: Mapping[str, Any]) -> tuple[str, ...]:
    offers = ", ".join(f"{kind} {' '.join(record[kind])}" for kind in ("families", "heads", "commands") if record[kind])
    distribution = f"{record['distribution']} {record['version']}"
    return record["name"], record["state"], record["api"] or "", record["licence"] or "", distribution, offers
