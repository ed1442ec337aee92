"""What the catalogue holds at one moment, and how a server reports it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from headstock.catalogue import Catalogue
from headstock.records import PRODUCTION, Version

State = Literal["READY", "LOADING", "UNAVAILABLE"]


@dataclass(frozen=True, slots=True)
class IndexRow:
    """One model version as the server sees it."""

    name: str
    version: int
    state: State
    reason: str = ""
    """Why it is not ready; empty when it is."""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Model versions and aliases, read once so that resolving needs no I/O."""

    versions: Mapping[str, Mapping[int, Version]] = field(default_factory=dict)
    """Name to number to version, newest first."""
    aliases: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    backbones: tuple[Version, ...] = ()
    """What models stand on; it is not served by its name."""

    @classmethod
    def read(cls, catalogue: Catalogue, names: Collection[str] | None) -> Snapshot:
        """The models of `names`, or all of them, at one moment: between two of them an alias may move."""
        versions: dict[str, dict[int, Version]] = {}
        every, aliases = catalogue.served()
        for version in every:
            if version.kind == "model" and (names is None or version.name in names):
                versions.setdefault(version.name, {})[version.number] = version
        known = {name: aliases.get(name, {}) for name in versions}
        return cls(versions, known, tuple(version for version in every if version.kind == "backbone"))

    def default(self, name: str) -> Version:
        """What an empty selector means: alias production, else the newest."""
        known = self.versions[name]
        number = self.aliases[name].get(PRODUCTION)
        return next(iter(known.values())) if number is None else known[number]

    def target(self, name: str, alias: str) -> Version | None:
        """The version that an alias points to."""
        return self.versions[name].get(self.aliases[name].get(alias, -1))

    def aliases_of(self, version: Version) -> tuple[str, ...]:
        """Aliases that point to a version."""
        return tuple(a for a, number in self.aliases.get(version.name, {}).items() if number == version.number)
