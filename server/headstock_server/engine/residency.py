"""Which backbones stay in memory and which one goes next: the policy alone, without threads, files or sessions."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from headstock.errors import Exhausted, FailedPrecondition

MIB = 1 << 20


class ResidentKey(NamedTuple):
    """One session's weights."""

    backbone: str
    """Backbone digest."""
    graph: str = ""
    """Digest of the graph that takes adapters; empty for the plain backbone."""
    stem: str = ""
    """Digest of the stem that only its upper part stands on, or that it is; empty for a whole backbone."""

    @property
    def is_stem(self) -> bool:
        """True for the stem itself, which stays as long as an upper part on it does."""
        return bool(self.stem) and self.backbone == self.stem


@dataclass(slots=True)
class Usage:
    """What requests leave behind; written on the event loop, and read without a lock by who looks for room."""

    in_flight: int = 0
    """Requests that are neither answered nor given up."""
    used_ns: int = 0
    """Monotonic nanoseconds of the latest request."""


@dataclass(slots=True)
class Resident:
    """One backbone that takes memory, or is about to."""

    size: int
    """Estimated bytes of the session."""
    held: int = 0
    """Bytes of the adapters and heads that stand beside it."""
    reserved: int = 0
    """Bytes of adapters and heads that are being loaded."""
    usage: Usage = field(default_factory=Usage)
    pinned: bool = False
    loads: int = 0
    """Loads under way that stand on it."""
    sessions: int = 0
    """Sessions that are open: none before the first load is done."""
    leaving: bool = False
    """Nothing names it any more; its bytes count until its last request is answered."""

    @property
    def total(self) -> int:
        """Bytes of everything that goes when it goes."""
        return self.size + self.held + self.reserved

    @property
    def evictable(self) -> bool:
        """True if it may be told to leave."""
        return not (self.pinned or self.loads or self.leaving)


class Residency:
    """The residents and their bytes, at most `budget` in all. Not thread-safe.

    The first to go is the least recently used one without a request in flight; if every one has some, the least
    recently used of those. It takes no new requests then, and what it accepted is answered before its bytes count
    as free: nothing is ever unloaded under a request.
    """

    def __init__(self, budget: int | None = None) -> None:
        """Keep at most `budget` bytes; None keeps everything."""
        self.budget = budget
        self.residents: dict[ResidentKey, Resident] = {}
        self.evictions = 0
        """Backbones that were told to leave."""

    @property
    def size(self) -> int:
        """Bytes of all residents, those that leave included."""
        return sum(resident.total for resident in self.residents.values())

    def enter(self, key: ResidentKey, size: int, part: int = 0) -> bool:
        """Reserve the bytes of a backbone, or revive one that is there; False if there is no room for it yet.

        `part` are bytes of the adapter and the head that come with it, or to it. The caller loads it then and calls
        `settle`; until that it cannot be told to leave.
        """
        needed = self._needed(key, size, part)
        if needed and self.budget is not None and self.size + needed > self.budget:
            return False
        resident = self.residents.setdefault(key, Resident(size))
        resident.leaving = False
        resident.loads += 1
        resident.reserved += part
        return True

    def hold(self, key: ResidentKey, held: int) -> None:
        """What stands beside a session takes that many bytes now."""
        self.residents[key].held = held

    def opened(self, key: ResidentKey) -> None:
        """A session of a backbone that is being loaded was opened."""
        self.residents[key].sessions += 1

    def settle(self, key: ResidentKey, part: int = 0) -> None:
        """One load ended, well or not; the bytes of what has no session are free."""
        self.residents[key].loads -= 1
        self.residents[key].reserved -= part
        self._release(key)

    def closed(self, key: ResidentKey) -> None:
        """A session was closed."""
        self.residents[key].sessions -= 1
        self._release(key)

    def _release(self, key: ResidentKey) -> None:
        resident = self.residents[key]
        if resident.loads == 0 and resident.sessions == 0:
            del self.residents[key]

    def pin(self, keys: Collection[ResidentKey]) -> None:
        """These and no others may not be told to leave."""
        for key, resident in self.residents.items():
            resident.pinned = key in keys

    def leave(self, key: ResidentKey, size: int, part: int = 0) -> list[ResidentKey]:
        """Tell as many to leave as `enter` needs beside those that leave already, and return them.

        Raises `FailedPrecondition` for what is larger than the budget, `Exhausted` if what may not leave is in the way.
        Then nobody is told to leave in vain.
        """
        needed = self._needed(key, size, part)
        if self.budget is None or not needed:
            return []
        self.check(key, size, part)
        others = [r for k, r in self.residents.items() if k != key]
        own = self.residents[key].total if key in self.residents else 0
        excess = own + needed - self.budget + sum(r.total for r in others if not r.leaving)
        order = sorted(
            (k for k, r in self.residents.items() if r.evictable and not k.is_stem and k != key),
            key=lambda k: (self.residents[k].usage.in_flight > 0, self.residents[k].usage.used_ns),
        )
        chosen: list[ResidentKey] = []
        for candidate in order:
            if excess <= 0:
                break
            chosen.append(candidate)
            excess -= self.residents[candidate].total
            if (stem := self._left_alone(candidate, chosen)) is not None:
                chosen.append(stem)
                excess -= self.residents[stem].total
        if excess > 0:
            kept = sum(r.total for r in others if r.pinned or r.loads)
            raise Exhausted(
                f"backbone {key.backbone[:19]} takes about {mib(own + needed)} and the memory budget is "
                f"{mib(self.budget)}, of which {mib(kept)} are pinned or being loaded",
                fix="headstock serve with a larger --memory-budget or fewer --pin",
                retry_after=1.0,
            )
        for victim in chosen:
            self.residents[victim].leaving = True
        told = [victim for victim in chosen if not victim.is_stem]
        self.evictions += len(told)
        return told

    def _left_alone(self, upper: ResidentKey, chosen: Collection[ResidentKey]) -> ResidentKey | None:
        """The stem of an upper part, if all that stands on it leaves; it leaves by itself then."""
        stem = ResidentKey(upper.stem, stem=upper.stem)
        resident = self.residents.get(stem) if upper.stem else None
        if resident is None or resident.loads or resident.leaving:
            return None
        others = (k for k in self.residents if k.stem == stem.stem and not k.is_stem and k not in chosen)
        return stem if all(self.residents[k].leaving for k in others) else None

    def _needed(self, key: ResidentKey, size: int, part: int) -> int:
        """Bytes that `enter` would add."""
        return part if key in self.residents else size + part

    def check(self, key: ResidentKey, size: int, part: int = 0) -> None:
        """Raise `FailedPrecondition` for a backbone that with its heads is larger than the whole budget.

        Not while others load on it: what they reserved counts beside what it replaces, and neither may stay.
        """
        resident = self.residents.get(key)
        if resident is not None and resident.loads:
            return
        size = self._needed(key, size, part) + (0 if resident is None else resident.total)
        if self.budget is not None and size > self.budget:
            raise FailedPrecondition(
                f"backbone {key.backbone[:19]} takes about {mib(size)}, more than the whole memory budget of "
                f"{mib(self.budget)}",
                fix=f"headstock serve --memory-budget {-(-size // MIB)}M",
            )

    def __repr__(self) -> str:
        return f"Residency(size={self.size}, budget={self.budget}, residents={len(self.residents)})"


def mib(size: int) -> str:
    """Bytes as people read them."""
    return f"{size / MIB:.1f} MiB" if size >= MIB // 10 else f"{size} bytes"
