"""The adapter bank: slot 0 is none, slots come back, growing moves nothing."""

from __future__ import annotations

import numpy as np
import pytest

from headstock.adapter import Pair
from headstock.errors import HeadstockError, InvalidInput
from headstock_server.engine import AdapterBank


def _pair(value: float) -> dict[str, Pair]:
    return {"q": Pair(np.full((4, 2), value, np.float32), np.full((2, 3), value, np.float32))}


def test_adapters_keep_their_slots_while_the_bank_grows_and_freed_ones_are_used_again() -> None:
    """A pass that took its arrays before keeps them; slot 0 stays zeros."""
    bank = AdapterBank({"q": (4, 2, 3)})
    slots = [bank.add(_pair(v)) for v in (1.0, 2.0, 3.0, 4.0, 5.0)]
    assert slots == [1, 2, 3, 4, 5]
    feeds = bank.feeds(np.array([3, 0]))
    assert feeds["adapter"].tolist() == [3, 0]
    assert feeds["adapter"].dtype == np.int64
    assert [float(feeds["q.A"][s].max()) for s in range(6)] == [0, 1, 2, 3, 4, 5]
    bank.release(2)
    assert (len(bank), bank.add(_pair(9.0)), len(bank)) == (4, 2, 5)


def test_other_shapes_and_slots_that_are_not_there_are_refused() -> None:
    """Neither reaches the graph."""
    bank = AdapterBank({"q": (4, 2, 3)})
    with pytest.raises(InvalidInput, match="this bank holds"):
        bank.add({"q": Pair(np.zeros((4, 1), np.float32), np.zeros((1, 3), np.float32))})
    for slot in (-1, bank.capacity):
        with pytest.raises(HeadstockError, match="adapter slot"):
            bank.feeds(np.array([slot]))
