"""Who owns which name: collisions are refused and name every owner, and a pin settles them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from headstock.errors import Conflict, NotFound, PluginError
from headstock.plugin_host.manifest import CommandEntry, Family, Head, Manifest, ObjectiveEntry
from headstock.plugin_host.pins import Claim, Pins, pin_command
from headstock.plugin_host.states import PluginState

Entry = Family | Head | ObjectiveEntry | CommandEntry

_KINDS: tuple[Claim, ...] = ("family", "head", "objective", "command")


@dataclass(frozen=True, slots=True)
class NameConflict:
    """A name that several plugins claim and no pin settles: nobody gets it."""

    claim: Claim
    name: str
    distributions: tuple[str, ...]

    def error(self) -> Conflict:
        """The refusal, naming all owners and the command that settles it."""
        return Conflict(
            f"{self.claim} {self.name!r} is declared by distributions {' and '.join(self.distributions)}; "
            "none of them gets it until you choose",
            fix=pin_command(self.claim, self.name, self.distributions[0]),
        )


class Claims:
    """Names of families, heads and commands with the plugins that declare them."""

    def __init__(self, states: Sequence[PluginState], pins: Pins) -> None:
        self._states = states
        self._pins = pins
        self._owners: dict[Claim, dict[str, list[tuple[Manifest, Entry]]]] = {kind: {} for kind in _KINDS}
        for manifest in [m for s in states if (m := s.usable) is not None]:
            for kind in _KINDS:
                for entry in _entries(manifest, kind):
                    self._owners[kind].setdefault(entry.name, []).append((manifest, entry))

    def owners(self, claim: Claim, name: str) -> list[tuple[Manifest, Entry]]:
        """Everyone who may have `name`: one, after a pin; several, in conflict; or none."""
        everyone = self._owners[claim].get(name, [])
        pinned = self._pins.get(claim, {}).get(name)
        return [o for o in everyone if o[0].distribution == pinned] or everyone

    def declared_by(self, claim: Claim, name: str) -> list[str]:
        """Distributions that declare `name`, whatever is pinned."""
        return [manifest.distribution for manifest, _ in self._owners[claim].get(name, [])]

    def names(self, claim: Claim) -> list[str]:
        """Every name that is declared, sorted."""
        return sorted(self._owners[claim])

    def owned(self, claim: Claim) -> Iterator[tuple[Manifest, Any]]:
        """Owner and entry of every name that has exactly one owner, by name."""
        for name in self.names(claim):
            owners = self.owners(claim, name)
            if len(owners) == 1:
                yield owners[0]

    def conflicts(self) -> list[NameConflict]:
        """Names that several plugins claim and no pin settles."""
        return [
            self._conflict(claim, name)
            for claim in _KINDS
            for name in self.names(claim)
            if len(self.owners(claim, name)) > 1
        ]

    def owner(self, claim: Claim, name: str) -> Manifest:
        """The one owner of `name`; raises `Conflict`, `PluginError` if its plugin may not be used, or `NotFound`."""
        owners = self.owners(claim, name)
        if len(owners) == 1:
            return owners[0][0]
        if owners:
            raise self._conflict(claim, name).error()
        for state in self._states:
            if state.manifest is not None and name in [e.name for e in _entries(state.manifest, claim)]:
                raise PluginError(
                    f"{claim} {name!r} is offered by plugin {state.manifest.title}, which is {state.state}: "
                    f"{state.reason}",
                    fix=state.fix or None,
                )
        raise unknown(claim, name, self.names(claim))

    def _conflict(self, claim: Claim, name: str) -> NameConflict:
        return NameConflict(claim, name, tuple(sorted(m.distribution for m, _ in self.owners(claim, name))))


_LISTING = {"family": "headstock families", "head": "headstock heads", "command": "headstock --help"}
"""What lists the names of a kind; the rest stand with their plugins."""


def unknown(what: str, name: str, known: Sequence[str]) -> NotFound:
    """The error for a name that nobody has, with the nearest one."""
    close = get_close_matches(name, known, n=1)
    return NotFound(
        f"there is no {what} {name!r}; there are {sorted(known)}",
        fix=f"did you mean {close[0]!r}?" if close else _LISTING.get(what, "headstock plugins"),
    )


def _entries(manifest: Manifest, claim: Claim) -> Sequence[Entry]:
    match claim:
        case "family":
            return manifest.families
        case "head":
            return manifest.heads
        case "objective":
            return manifest.objectives
        case _:
            return manifest.commands
