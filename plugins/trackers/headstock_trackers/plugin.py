"""The hook of the trackers' plugin: a callback for each tracker that is installed and wanted."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec

from headstock.errors import InvalidInput
from headstock.hookspecs import FinetuneCallback, hookimpl
from headstock.settings import Settings

WANTED = "HEADSTOCK_TRACKERS"
"""Comma-separated names of trackers; `none` for none. Unset: all that are installed."""
NAMES = ("tensorboard", "mlflow")
"""Each is the name of the module that it needs, and of the extra of the distribution that installs it."""


@hookimpl
def finetune_callbacks() -> Sequence[FinetuneCallback]:
    """A fresh tracker per run."""
    return trackers(Settings.from_environment(), os.environ)


def trackers(settings: Settings, environ: Mapping[str, str]) -> list[FinetuneCallback]:
    """Trackers that `environ` asks for; raises `InvalidInput` for a name that is unknown or not installed."""
    return [_make(name, settings, environ) for name in _wanted(environ.get(WANTED))]


def installed() -> list[str]:
    """Names of the trackers whose module can be imported; imports none of them."""
    return [name for name in NAMES if find_spec(name) is not None]


def _wanted(said: str | None) -> list[str]:
    found = installed()
    if said is None:
        return found
    names = [name.strip() for name in said.split(",") if name.strip() not in ("", "none")]
    for name in names:
        if name not in NAMES:
            raise InvalidInput(f"{WANTED} names {name!r}; expected some of {', '.join(NAMES)}, or none")
        if name not in found:
            raise InvalidInput(
                f"{WANTED} names {name!r}, which is not installed", fix=f"pip install 'headstock[{name}]'"
            )
    return names


def _make(name: str, settings: Settings, environ: Mapping[str, str]) -> FinetuneCallback:
    # A tracker's module is imported when a run begins, so that what only reads the hooks waits for nothing.
    from headstock_trackers.mlflow import MLflowCallback
    from headstock_trackers.tensorboard import TensorBoardCallback

    makers: Mapping[str, Callable[[], FinetuneCallback]] = {
        "tensorboard": lambda: TensorBoardCallback(settings.home / "tensorboard"),
        "mlflow": lambda: MLflowCallback(environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{settings.home}/mlflow.db"),
    }
    return makers[name]()
