"""What verdicts depend on besides the catalogue and the day: the policy file, the operator's records, the keys."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from headstock.licences.folder import FOLDER, state_of

Seen: TypeAlias = tuple[object, ...]


class PolicyFiles:
    """Tells that something changed, by times and sizes; reads none of the files."""

    def __init__(self, home: Path) -> None:
        """Look in HEADSTOCK_HOME; no keys before `keys` names some."""
        self.keys: Sequence[str] = ()
        """Public keys that the policy names and asks for, relative to HEADSTOCK_HOME."""
        self._home = home

    def terms(self) -> Seen:
        """State of what decides verdicts; which keys count is known only when the policy was read."""
        return (_state_of(self._home / "policy.toml"), state_of(self._home / FOLDER))

    def signers(self) -> Seen:
        """State of the keys."""
        return tuple(_state_of(self._home / key) for key in self.keys)

    def state(self) -> Seen:
        """State of everything."""
        return (self.terms(), self.signers())


def _state_of(path: Path) -> object:
    try:
        found = path.stat()
    except FileNotFoundError:
        return ()
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)
