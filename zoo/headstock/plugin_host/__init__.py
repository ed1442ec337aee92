"""Finding, checking and loading plugins: listings read manifests and import nothing, hooks run one plugin at a time."""

from headstock.plugin_host.claims import NameConflict
from headstock.plugin_host.host import FamilyEntry, HeadEntry, PluginHost, open_host
from headstock.plugin_host.manifest import CommandEntry, Family, Head, Manifest, Preset
from headstock.plugin_host.states import PluginState, State

__all__ = [
    "CommandEntry",
    "Family",
    "FamilyEntry",
    "Head",
    "HeadEntry",
    "Manifest",
    "NameConflict",
    "PluginHost",
    "PluginState",
    "Preset",
    "State",
    "open_host",
]
