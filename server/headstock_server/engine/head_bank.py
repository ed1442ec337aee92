"""Linear heads of one backbone, tap and shape, stacked so that each row of a pass is gathered to its own head."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np

from headstock.errors import InvalidInput
from headstock_server.scheduler.contract import Floats, Slots

_GATHER_BYTES = 16_384
"""Up to this weight size one gathered product beats one product per distinct head (measured, 1 to 32 rows)."""


class HeadBank:
    """Weights [slots, width, out] and biases [slots, out] of heads on one tap.

    `run` takes no lock: adding a head writes a slot that no running pass reads, growing swaps in copies, and a slot
    is given out again only after `release`, which the owner calls when no request can name it any more.
    """

    def __init__(self, tap: str, width: int, out: int) -> None:
        self.tap = tap
        self.width = width
        self.out = out
        self._lock = threading.Lock()
        # A deque because `release` may run inside garbage collection, where taking a lock could deadlock.
        self._free: deque[int] = deque()
        self._used = 0
        self._arrays = (np.zeros((1, width, out), np.float32), np.zeros((1, out), np.float32))

    def __len__(self) -> int:
        """Heads that are in the bank."""
        return self._used - len(self._free)

    @property
    def capacity(self) -> int:
        """Slots that exist; doubles when they run out."""
        return len(self._arrays[0])

    @property
    def nbytes(self) -> int:
        """Bytes of all slots, free ones included."""
        return sum(array.nbytes for array in self._arrays)

    def add(self, weight: Floats, bias: Floats) -> int:
        """Put a head into a free slot and return the slot. Raises `InvalidInput` for other shapes than the bank's."""
        if weight.shape != (self.width, self.out) or bias.shape != (self.out,):
            raise InvalidInput(
                f"the head has weight {list(weight.shape)} and bias {list(bias.shape)}; "
                f"expected {[self.width, self.out]} and {[self.out]}"
            )
        with self._lock:
            slot = self._free.popleft() if self._free else self._used
            if slot == self.capacity:
                weights, biases = (np.concatenate([a, np.zeros_like(a)]) for a in self._arrays)
            else:
                weights, biases = self._arrays
            weights[slot], biases[slot] = weight, bias
            self._arrays = (weights, biases)
            self._used = max(self._used, slot + 1)
        return slot

    def release(self, slot: int) -> None:
        """Give a slot back; the caller warrants that no row will name it again."""
        self._free.append(slot)

    def run(self, features: Floats, slots: Slots) -> Floats:
        """Outputs [n, out] of features [n, width], row i through the head in `slots[i]`.

        Every row is a vector-matrix product of its own, so its bits do not depend on its neighbours. One matrix
        product over the rows of a head would be faster for wide heads and is not bit-equal; neither is einsum.
        """
        weights, biases = self._arrays
        rows = features[:, None, :]
        first = int(slots[0])
        if (slots == first).all():
            return self._finished(np.matmul(rows, weights[first]), biases[first])
        if self.width * self.out * 4 <= _GATHER_BYTES:
            return self._finished(np.matmul(rows, weights[slots]), biases[slots])
        products = np.empty((len(features), 1, self.out), np.float32)
        for slot in np.unique(slots):
            mine = slots == slot
            products[mine] = np.matmul(rows[mine], weights[slot])
        return self._finished(products, biases[slots])

    def run_alone(self, features: Floats, slot: int) -> Floats:
        """Outputs [positions, out] of one row [positions, width].

        The product's shape is the row's own, so its bits do not depend on any neighbour.
        """
        weights, biases = self._arrays
        outputs: Floats = np.matmul(np.ascontiguousarray(features), weights[slot]) + biases[slot]
        return outputs

    @staticmethod
    def _finished(products: Floats, biases: Floats) -> Floats:
        outputs: Floats = products[:, 0] + biases
        return outputs

    def __repr__(self) -> str:
        return f"HeadBank({self.tap!r}, width={self.width}, out={self.out}, heads={len(self)}/{self.capacity})"
