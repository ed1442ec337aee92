"""`headstock serve`."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

import click

from headstock_server.serve_options import options_of, serve_options


@click.command("serve")
@serve_options
def serve(**asked: Any) -> None:
    """Serve models over gRPC until SIGTERM.

    Rows of all models that stand on one backbone share its passes. Promoting an alias takes effect without a restart.
    """
    # Heads are small products on a runner's thread: numpy's own thread pool would spin beside the graph's threads.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from headstock.settings import Settings
    from headstock_server import app

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = Settings.from_environment()
    asyncio.run(app.serve(settings, options_of(settings, asked), _announce))


def _announce(address: str) -> None:
    click.echo(f"listening on {address}")
