"""Where things live and who is asking; every value has one environment variable."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headstock.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Settings:
    """Paths and URLs of one Headstock installation."""

    home: Path
    """HEADSTOCK_HOME: catalogue, store, caches and runs. Default `~/.headstock`."""
    catalogue_url: str
    """HEADSTOCK_CATALOGUE_URL: an SQLAlchemy URL. Default: SQLite in `home`."""
    plugins: tuple[str, ...] | None
    """HEADSTOCK_PLUGINS: comma-separated allow-list of plugin names; empty loads none. Default: all."""
    actor: str
    """HEADSTOCK_ACTOR: the name written into the audit log. Default: the login name."""
    plugin_import_seconds: float = 60.0
    """HEADSTOCK_PLUGIN_IMPORT_SECONDS: time limit of a third-party plugin's first import, in seconds."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from `environ` (default `os.environ`)."""
        env = os.environ if environ is None else environ
        home = Path(env.get("HEADSTOCK_HOME") or Path.home() / ".headstock").expanduser().resolve()
        listed = env.get("HEADSTOCK_PLUGINS")
        return cls(
            home=home,
            catalogue_url=env.get("HEADSTOCK_CATALOGUE_URL") or f"sqlite:///{home / 'catalogue.db'}",
            plugins=None if listed is None else tuple(p.strip() for p in listed.split(",") if p.strip()),
            actor=env.get("HEADSTOCK_ACTOR") or env.get("USER") or env.get("LOGNAME") or "unknown",
            plugin_import_seconds=_seconds("HEADSTOCK_PLUGIN_IMPORT_SECONDS", env, 60.0),
        )

    @property
    def sqlite_path(self) -> Path | None:
        """The database file when the catalogue is SQLite, else None."""
        prefix = "sqlite:///"
        return Path(self.catalogue_url.removeprefix(prefix)) if self.catalogue_url.startswith(prefix) else None

    @property
    def store(self) -> Path:
        """Folder of the content-addressed blobs."""
        return self.home / "store"

    @property
    def cache(self) -> Path:
        """Folder of what can be recomputed: features, profiles."""
        return self.home / "cache"

    @property
    def runs(self) -> Path:
        """Folder of unfinished fine-tunes, one sub-folder per recipe digest."""
        return self.home / "runs"


def _seconds(name: str, environ: Mapping[str, str], default: float) -> float:
    text = environ.get(name) or str(default)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise InvalidInput(f"{name} is {text[:40]!r}; expected a number of seconds above 0")
    return seconds
