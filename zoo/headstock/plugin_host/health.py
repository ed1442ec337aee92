"""What happened when a plugin was last imported, remembered so that listings can say it without importing."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from headstock.errors import PluginError
from headstock.plugin_host.manifest import Manifest
from headstock.settings import Settings


@dataclass(frozen=True, slots=True)
class Health:
    """The outcome of an import of one distribution version under one Python."""

    distribution: str
    version: str
    manifest: str
    """Digest of the manifest."""
    python: str
    reason: str = ""
    """Empty when all went well."""
    fix: str = ""
    fatal: bool = False
    """The import hung or killed the process: it is not tried again in ours until `headstock plugins check`."""


def recall(settings: Settings, manifest: Manifest) -> Health | None:
    """What is remembered of exactly this version of the plugin."""
    try:
        value = json.loads(_path(settings, manifest).read_bytes())
        health = Health(**value)
    except (OSError, ValueError, TypeError):
        # A damaged record is no record: the next import writes a new one.
        return None
    return health if _key(health) == _key(_health(manifest)) else None


def remember(settings: Settings, manifest: Manifest, error: PluginError | None = None, *, fatal: bool = False) -> None:
    """Record the outcome of an import, `error` or success; a fatal outcome is only replaced after `forget`."""
    known = recall(settings, manifest)
    if known is not None and known.fatal:
        return
    health = _health(manifest)
    if error is not None:
        health = replace(health, reason=bare_reason(manifest, error), fix=error.fix or "", fatal=fatal)
    if known == health:
        return
    path = _path(settings, manifest)
    # A home that cannot be written is no reason to fail: the plugin is then imported without a memory.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(health)), encoding="utf-8")


def bare_reason(manifest: Manifest, error: PluginError) -> str:
    """The message without the plugin's title, for places that name the plugin anyway."""
    return error.message.removeprefix(f"plugin {manifest.title}: ")


def forget(settings: Settings, manifest: Manifest) -> None:
    """Drop what is remembered, so that the plugin is tried again."""
    with contextlib.suppress(OSError):
        _path(settings, manifest).unlink(missing_ok=True)


def _health(manifest: Manifest) -> Health:
    python = f"{sys.implementation.cache_tag} {sys.prefix}"
    return Health(manifest.distribution, manifest.version, manifest.digest, python)


def _key(health: Health) -> tuple[str, str, str, str]:
    return health.distribution, health.version, health.manifest, health.python


def _path(settings: Settings, manifest: Manifest) -> Path:
    return settings.cache / "plugins" / f"{manifest.name}.json"
