"""`headstock plugins`: what is installed and in which state, the contract kit, new projects, and pins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from headstock.cli.output import emit, format_option, table, visible

if TYPE_CHECKING:
    from headstock.plugin_host import PluginHost, PluginState
    from headstock.testing.plugin_checks import PluginReport


@click.group("plugins", invoke_without_command=True)
@format_option
@click.pass_context
def command(context: click.Context, format_: str) -> None:
    """List the plugins and their state (the default), check them, begin a new one, or settle who owns a name."""
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
@click.argument("packages", nargs=-1, metavar="[PACKAGE]...")
@click.option("--load-only", is_flag=True, help="Only import the plugins and call their hooks; takes no torch.")
@format_option
@click.pass_context
def check(context: click.Context, packages: tuple[str, ...], load_only: bool, format_: str) -> None:
    """Run the contract kit on plugins, also on those that failed before; exit 1 if a promise is broken.

    PACKAGE is the name of a plugin, of its distribution or of its package. Every family is loaded from the tiny
    checkpoint that the plugin supplies, exported twice and compared with torch, alone and in company; every head type
    is trained for a moment.
    """
    from headstock.plugin_host import State, open_host

    host = open_host()
    names = list(dict.fromkeys(n for p in packages for n in _named(host, p))) or [s.name for s in host.states()]
    disabled = {s.name for s in host.states() if s.state is State.DISABLED}
    reports = {} if load_only else {name: _checked(host, name, format_) for name in names if name not in disabled}
    states = [reports[name].state if name in reports else host.check(name) for name in names]
    records = [_check_record(state, reports.get(state.name)) for state in states]
    _emit(format_, states, records)
    if format_ == "table":
        for report in reports.values():
            # Of a plugin that does not load, the reason above says all there is.
            if report.state.state is State.OK:
                _print_report(report)
    at_fault = any(s.state in (State.BROKEN, State.INCOMPATIBLE) for s in states)
    if at_fault or any(r.state.state is State.OK and not r.passed for r in reports.values()):
        context.exit(1)


@command.command("new")
@click.argument("name")
@click.option("--family", "kind", flag_value="family", help="A backbone family.")
@click.option("--head", "kind", flag_value="head", help="A head type.")
@click.option(
    "--modality",
    type=click.Choice(["text", "image", "audio", "tabular"]),
    default="text",
    show_default=True,
    help="What it works on.",
)
@click.option(
    "--directory", type=click.Path(path_type=Path), metavar="DIR", help="Folder to write to.  [default: headstock-NAME]"
)
def new(name: str, kind: str | None, modality: str, directory: Path | None) -> None:
    """Write a complete plugin project NAME that passes its own tests, offline.

    \b
    headstock plugins new acme --family
    cd headstock-acme && pip install --no-deps --no-build-isolation -e . && pytest
    """
    from headstock.errors import InvalidInput
    from headstock.plugin_host import open_host
    from headstock.plugin_host.project import write_project

    if kind is None:
        raise InvalidInput("the kind of plugin is missing", fix="--family or --head")
    folder, written = write_project(open_host(), name, kind, modality, directory)
    for path in written:
        click.echo(f"wrote {path}", err=True)
    click.echo(f"next: cd {visible(str(folder))} && pip install --no-deps --no-build-isolation -e . && pytest")


@command.command("pin")
@click.argument("kind", type=click.Choice(["plugin", "family", "head", "objective", "command"]))
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


def _named(host: PluginHost, text: str) -> list[str]:
    """Names of the plugins that a person calls `text`; `text` itself where there is none, for the host to refuse."""
    states = host.states()
    fitting = [s.name for s in states if text == s.name]
    fitting = fitting or [s.name for s in states if text == s.distribution]
    return fitting or [s.name for s in states if s.manifest is not None and text == s.manifest.package] or [text]


def _checked(host: PluginHost, name: str, format_: str) -> PluginReport:
    import os

    from headstock.plugin_host.loading import stdout_to_stderr
    from headstock.testing.plugin_checks import check_plugin

    # Progress bars of loaders belong to a download.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if format_ == "table":
        click.echo(f"checking {name}", err=True)
    with stdout_to_stderr():
        return check_plugin(host, name)


def _check_record(state: PluginState, report: PluginReport | None) -> dict[str, Any]:
    record = _record(state)
    if report is None:
        return record
    results = [{"subject": r.subject, "check": r.check, "passed": r.passed, "detail": r.detail} for r in report.results]
    return {**record, "passed": report.passed, "checks": results}


def _print_report(report: PluginReport) -> None:
    from headstock.testing.results import NOT_TRIED

    rows = [
        (r.subject, r.check, "FAILED" if not r.passed else "-" if r.detail.startswith(NOT_TRIED) else "ok", r.detail)
        for r in report.results
    ]
    kept = sum(r.passed for r in report.results)
    click.echo(f"\n{report.state.name}: {kept} of {len(rows)} promises hold\n")
    click.echo(table(("SUBJECT", "CHECK", "RESULT", "DETAIL"), rows))


def _emit(format_: str, states: list[PluginState], records: list[dict[str, Any]] | None = None) -> None:
    emit(
        format_,
        [_record(s) for s in states] if records is None else records,
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
        "objectives": [o.name for o in manifest.objectives] if manifest else [],
        "commands": [c.name for c in manifest.commands] if manifest else [],
    }


def _row(record: Mapping[str, Any]) -> tuple[str, ...]:
    kinds = ("families", "heads", "objectives", "commands")
    offers = ", ".join(f"{kind} {' '.join(record[kind])}" for kind in kinds if record[kind])
    distribution = f"{record['distribution']} {record['version']}"
    return record["name"], record["state"], record["api"] or "", record["licence"] or "", distribution, offers
