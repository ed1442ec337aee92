"""What became of each plugin that is installed, with the reason and the fix."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from headstock.plugin_host.manifest import Manifest


class State(StrEnum):
    """Whether a plugin may be used."""

    OK = "OK"
    BROKEN = "BROKEN"
    """Its manifest, its import or its hooks are at fault."""
    DISABLED = "DISABLED"
    """HEADSTOCK_PLUGINS or a pin leaves it out."""
    INCOMPATIBLE = "INCOMPATIBLE"
    """It was made for another version of the plugin API; it is not imported."""


@dataclass(frozen=True, slots=True)
class PluginState:
    """One installed plugin."""

    name: str
    """The entry point's name."""
    distribution: str
    version: str
    state: State
    reason: str = ""
    """Why it is not OK."""
    fix: str = ""
    """What to type instead."""
    manifest: Manifest | None = None
    """Present whenever it could be read, also for plugins that may not be used."""
    retry: bool = False
    """BROKEN because its last import raised; the next use tries again, for what was missing may be there now."""

    @property
    def usable(self) -> Manifest | None:
        """The manifest, if what it offers may be asked for."""
        return self.manifest if self.state is State.OK or self.retry else None
