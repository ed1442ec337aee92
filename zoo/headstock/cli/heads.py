"""`headstock heads`: what can be trained on a backbone, from manifests alone."""

from __future__ import annotations

from dataclasses import asdict

import click

from headstock.cli.output import emit, format_option
from headstock.cli.plugins import warn_of_conflicts


@click.command("heads")
@format_option
def command(format_: str) -> None:
    """List the head types that plugins declare; nothing is imported."""
    from headstock.plugin_host import open_host

    host = open_host()
    warn_of_conflicts(host, "head")
    emit(
        format_,
        [asdict(h) for h in host.heads()],
        headers=("HEAD", "TASK", "MODALITY", "PLUGIN", "DESCRIPTION"),
        row=lambda r: (r["name"], r["task"], r["modality"], r["plugin"], r["description"]),
        name=lambda r: r["name"],
        empty="no plugin has head types",
    )
