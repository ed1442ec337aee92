"""What became of a plugin when it was last imported, remembered for listings, and for when it is gone."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from headstock.errors import PluginError
from headstock.plugin_host.manifest import Manifest
from headstock.plugin_host.pins import Claim
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
    offers: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Kind of name (`family`, `head`, `objective`, `command`) to the names that it had: who to ask for once it is
    uninstalled."""


def recall(settings: Settings, manifest: Manifest) -> Health | None:
    """What is remembered of exactly this version of the plugin."""
    health = _read(_path(settings, manifest))
    return health if health is not None and _key(health) == _key(_health(manifest)) else None


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


def former_owner(settings: Settings, claim: Claim, name: str, installed: Collection[str]) -> Health | None:
    """The plugin that once offered `name` here and is not among the `installed` ones any more."""
    for path in sorted(_folder(settings).glob("*.json")):
        health = None if path.stem in installed else _read(path)
        if health is not None and name in health.offers.get(claim, ()):
            return health
    return None


def _health(manifest: Manifest) -> Health:
    python = f"{sys.implementation.cache_tag} {sys.prefix}"
    offers = {
        "family": [f.name for f in manifest.families],
        "head": [h.name for h in manifest.heads],
        "objective": [o.name for o in manifest.objectives],
        "command": [c.name for c in manifest.commands],
    }
    return Health(manifest.distribution, manifest.version, manifest.digest, python, offers=offers)


def _key(health: Health) -> tuple[str, str, str, str]:
    return health.distribution, health.version, health.manifest, health.python


def _read(path: Path) -> Health | None:
    try:
        health = Health(**json.loads(path.read_bytes()))
        return health if isinstance(health.offers, dict) else None
    except (OSError, ValueError, TypeError):
        # A damaged record is no record: the next import writes a new one.
        return None


def _folder(settings: Settings) -> Path:
    return settings.cache / "plugins"


def _path(settings: Settings, manifest: Manifest) -> Path:
    return _folder(settings) / f"{manifest.name}.json"
