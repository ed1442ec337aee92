"""The three values of a verdict and how they combine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Value = Literal["allow", "unknown", "deny"]

_RANK: dict[Value, int] = {"deny": 0, "unknown": 1, "allow": 2}


def rank(value: Value) -> int:
    """Larger is more permitted."""
    return _RANK[value]


def all_of(values: Iterable[Value]) -> Value:
    """The strictest: every one must hold. Of nothing: `allow`."""
    return min(values, key=rank, default="allow")


def any_of(values: Iterable[Value]) -> Value:
    """The most permitted: one of them is enough. Of nothing: `deny`."""
    return max(values, key=rank, default="deny")


def agreed(values: Iterable[Value]) -> Value:
    """The value if all readings give the same one, else `unknown`: which reading is right is not known."""
    found = set(values)
    return found.pop() if len(found) == 1 else "unknown"
