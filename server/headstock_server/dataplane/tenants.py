"""Which names of tenants count: those that the operator listed, for callers can write any name."""

from __future__ import annotations

from collections.abc import Iterable

from headstock.errors import InvalidInput

ANY = "*"
"""Every name counts: for servers that only a gateway can reach, which writes the names itself."""
_LONGEST = 256


class Tenants:
    """Tenants take turns when more waits than fits, so a name that counts is a share of the server.

    Nobody can invent one: a caller whose name is not listed is one of those who name none, all of whom take one turn.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        """Let `names` count; `ANY` among them lets every name. Raises `InvalidInput` for what no caller can send."""
        self._names = frozenset(names)
        self._any = ANY in self._names
        for name in self._names:
            if not (0 < len(name) <= _LONGEST and name.isascii() and name.isprintable()):
                raise InvalidInput(
                    f"tenant {name[:80]!r} is not a name that callers can send; "
                    f"expected 1 to {_LONGEST} printable ASCII characters, or {ANY!r} for any"
                )

    def of(self, claimed: str) -> str:
        """The tenant of a caller who says to be `claimed`; empty for all that name none that counts."""
        return claimed if claimed in self._names or (self._any and len(claimed) <= _LONGEST) else ""
