"""The server's side of the plugin contract: it adds commands, through the same door as everyone."""

from __future__ import annotations

from collections.abc import Sequence

import click

from headstock.hookspecs import hookimpl


@hookimpl
def cli_commands() -> Sequence[click.Command]:
    """`headstock serve`, `headstock bench` and `headstock explain-batches`."""
    from headstock_server.bench.command import bench
    from headstock_server.bench.explain import explain_batches
    from headstock_server.cli import serve

    return [serve, bench, explain_batches]
