"""Who goes first when more waits than fits into a pass: the tenant, and within it the model, that has had least.

This is deficit round robin counted in tokens, with a deficit kept as a level: how many tokens a share has been served.
The share with the lowest level goes first, and a share that was away comes back at the level of those that stayed: it
neither saves up for later nor pays for the time when it was alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Levels = npt.NDArray[np.float64]

PRIORITY_WEIGHTS = {1: 8.0, 2: 4.0, 3: 2.0}
"""A request of priority 1 counts as an eighth of its tokens; 0, the default, counts in full, as does every other."""

_LEAD = 0.25
"""A share may always be this part of a pass ahead of the one that has had least: with many shares in balance, rows
are then chosen by length, which is what keeps padding low."""


def level_of(priority: int) -> int:
    """The level that a priority means: numbers without a weight of their own are all the default's, 0.

    Shares are told apart by level, so that a caller gains nothing by inventing priorities.
    """
    return priority if priority in PRIORITY_WEIGHTS else 0


@dataclass(frozen=True, slots=True)
class Standing:
    """What each share of a lane has had. A share is one tenant's requests of one priority for one model."""

    tenant: Ints
    """[shares] index of the share's tenant."""
    weight: Levels
    """[shares]"""
    served: Levels
    """[shares] tokens over weight, comparable within a tenant."""
    tenant_served: Levels
    """[tenants] tokens."""

    def first(self, share: Ints, length: Ints, due: Ints) -> int:
        """The row that goes first: the most urgent one of the share that has had least; arguments are per row.

        Among equals the one that waits for least goes first: it is done sooner, and the others hardly notice.
        """
        waits = np.bincount(share, length, len(self.tenant))
        least = waits > 0
        for cost in (self.tenant_served[self.tenant], self.served, waits / self.weight):
            cost = np.where(least, cost, np.inf)
            least = cost == cost.min()
        return int(np.where(least[share], due, np.iinfo(np.int64).max).argmin())

    def allowances(self, share: Ints, tokens: int) -> tuple[Levels, Levels]:
        """Tokens of a pass of `tokens` that each share [shares] and each tenant [tenants] may take.

        Beyond that they wait until the others have had theirs.
        """
        present = np.bincount(share, minlength=len(self.tenant)) > 0
        tenants = np.unique(self.tenant[present])
        rooms = np.zeros(len(self.tenant_served))
        rooms[tenants] = _fill(self.tenant_served[tenants], tokens, tokens)
        allowed = np.zeros(len(self.tenant))
        for tenant in tenants:
            own = np.flatnonzero(present & (self.tenant == tenant))
            allowed[own] = _fill(self.served[own], rooms[tenant], tokens, self.weight[own])
        return allowed, rooms


_REMEMBERED = 1024
"""Shares that a lane keeps numbers for, beside those that wait: they stand where they stood when they come back."""


class Shares:
    """The levels of one lane. Not thread-safe: the device's picking lock guards it."""

    __slots__ = ("_charged", "_floor", "_index", "_limit", "_served", "_standing", "_tenant", "_tenant_floor",
                 "_tenant_served", "_tenants", "_weight")  # fmt: skip

    def __init__(self) -> None:
        self._standing: Standing | None = None
        self._charged = False
        self._limit = _REMEMBERED
        self._index: dict[tuple[str, str, int], int] = {}
        self._tenants: dict[str, int] = {}
        self._tenant = np.empty(0, np.int64)
        self._weight = self._served = np.empty(0)
        self._tenant_served = self._floor = np.empty(0)
        self._tenant_floor = 0.0

    def __len__(self) -> int:
        """Shares that have a number."""
        return len(self._index)

    @property
    def crowded(self) -> bool:
        """True when it is time to `compact`."""
        return len(self._index) > self._limit

    def place(self, tenant: str, model: str, priority: int) -> int:
        """The share's number; stays the same until `rest` or `compact`."""
        key = tenant, model, level_of(priority)
        number = self._index.get(key)
        return self._new(key) if number is None else number

    def compact(self, waiting: Ints) -> Ints:
        """Forget the shares that have no row among `waiting`, a share's number for each row; returns the new numbers.

        A lane that never empties would otherwise remember every name that it ever met.
        """
        numbers, renumbered = np.unique(waiting, return_inverse=True)
        tenants, tenant = np.unique(self._tenant[numbers], return_inverse=True)
        keys, names = list(self._index), list(self._tenants)
        self._index = {keys[number]: i for i, number in enumerate(numbers.tolist())}
        self._tenants = {names[number]: i for i, number in enumerate(tenants.tolist())}
        self._tenant, self._weight, self._served = tenant, self._weight[numbers], self._served[numbers]
        self._tenant_served, self._floor = self._tenant_served[tenants], self._floor[tenants]
        self._limit = len(numbers) + _REMEMBERED
        self._standing = None
        return renumbered.astype(np.int64)

    def standing(self) -> Standing | None:
        """The levels now; a share that was away stands where the others are. None if there is only one share."""
        if len(self._index) < 2:
            return None
        if self._standing is None:
            self._standing = self._stand()
        return self._standing

    def _stand(self) -> Standing:
        self._served = np.maximum(self._served, self._floor[self._tenant])
        self._tenant_served = np.maximum(self._tenant_served, self._tenant_floor)
        return Standing(self._tenant, self._weight, self._served, self._tenant_served)

    def charge(self, share: Ints, length: Ints) -> None:
        """Rows of these shares run, the one that went first in front; arguments are per row."""
        if len(self._index) < 2:
            return
        self._standing, self._charged = None, True
        tenant = self._tenant[share]
        self._floor[tenant[0]] = self._served[share[0]]
        self._tenant_floor = float(self._tenant_served[tenant[0]])
        self._served = self._served + np.bincount(share, length, len(self._served)) / self._weight
        self._tenant_served = self._tenant_served + np.bincount(tenant, length, len(self._tenant_served))

    def rest(self) -> None:
        """Nothing waits: everyone starts afresh."""
        if self._charged or self.crowded:
            self.__init__()  # type: ignore[misc]  # a new life, same object

    def _new(self, key: tuple[str, str, int]) -> int:
        self._standing = None
        tenant = self._tenants.get(key[0])
        if tenant is None:
            tenant = self._tenants[key[0]] = len(self._tenants)
            self._tenant_served = np.append(self._tenant_served, 0.0)
            self._floor = np.append(self._floor, 0.0)
        self._tenant = np.append(self._tenant, tenant)
        self._weight = np.append(self._weight, PRIORITY_WEIGHTS.get(key[2], 1.0))
        self._served = np.append(self._served, 0.0)
        number = self._index[key] = len(self._index)
        return number


def _fill(served: Levels, room: float, tokens: int, weight: Levels | None = None) -> Levels:
    """How `room` tokens are poured so that those who have had least rise first, like water."""
    if len(served) == 1:
        return np.array([max(room, _LEAD * tokens)])
    weight = np.ones(len(served)) if weight is None else weight
    order = served.argsort()
    lowest, heavy = served[order], weight[order]
    levels = (room + np.cumsum(heavy * lowest)) / np.cumsum(heavy)
    # Up to here the water stands above the ground; the last such level is the one that it reaches.
    reached = levels[np.flatnonzero(levels >= lowest)[-1]]
    level = max(float(reached), float(lowest[0]) + _LEAD * tokens)
    return np.asarray(np.maximum(level - served, 0.0) * weight)
