"""Adapters of one backbone, rank and set of layers, stacked so that each row of a pass gathers its own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping

import numpy as np

from headstock.adapter.graph import INDEX
from headstock.adapter.parameters import Pair
from headstock.errors import HeadstockError, InvalidInput
from headstock_server.scheduler.contract import Array, Floats, Slots


class AdapterBank:
    """Stacked inputs of a LoRA graph: per layer A [slots, in, rank] and B [slots, rank, out]; slot 0 is no adapter.

    A pass takes one snapshot of the arrays. Adding writes a slot that no running pass names, growing swaps in copies,
    and a slot is given out again only after `release`, which the owner calls when no request can name it any more.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, int, int]]) -> None:
        """`shapes` are (in, rank, out) per layer."""
        self._shapes = dict(shapes)
        self._lock = threading.Lock()
        # A deque because `release` may run inside garbage collection, where taking a lock could deadlock.
        self._free: deque[int] = deque()
        self._used = 1
        self._arrays: dict[str, Floats] = {}
        for name, (wide, rank, out) in self._shapes.items():
            self._arrays[f"{name}.A"] = np.zeros((2, wide, rank), np.float32)
            self._arrays[f"{name}.B"] = np.zeros((2, rank, out), np.float32)

    def __len__(self) -> int:
        """Adapters that are in the bank."""
        return self._used - 1 - len(self._free)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the stacked inputs."""
        return tuple(self._arrays)

    @property
    def capacity(self) -> int:
        """Slots that exist, slot 0 included; doubles when they run out."""
        return len(next(iter(self._arrays.values())))

    @property
    def nbytes(self) -> int:
        """Bytes of all slots, free ones included."""
        return sum(array.nbytes for array in self._arrays.values())

    def add(self, parameters: Mapping[str, Pair]) -> int:
        """Put an adapter into a free slot and return the slot. Raises `InvalidInput` for other layers or shapes."""
        found = {name: (len(a), a.shape[1], b.shape[1]) for name, (a, b) in parameters.items()}
        if found != self._shapes:
            raise InvalidInput(f"the adapter has layers {found}; this bank holds adapters of {self._shapes}")
        with self._lock:
            slot = self._free.popleft() if self._free else self._used
            arrays = self._arrays
            if slot == self.capacity:
                arrays = {name: np.concatenate([a, np.zeros_like(a)]) for name, a in arrays.items()}
            for name, (a, b) in parameters.items():
                arrays[f"{name}.A"][slot], arrays[f"{name}.B"][slot] = a, b
            self._arrays = arrays
            self._used = max(self._used, slot + 1)
        return slot

    def release(self, slot: int) -> None:
        """Give a slot back; the caller warrants that no row will name it again."""
        self._free.append(slot)

    def feeds(self, slots: Slots) -> dict[str, Array]:
        """The extra graph inputs of a pass whose row i has the adapter in `slots[i]`.

        Raises `HeadstockError` for a slot that is not there: on a GPU the graph itself would not notice.
        """
        arrays = self._arrays
        count = len(next(iter(arrays.values())))
        if len(slots) and not (slots.min() >= 0 and slots.max() < count):
            raise HeadstockError(f"a row names adapter slot {slots.min()} or {slots.max()}; there are {count}")
        return {INDEX: slots.astype(np.int64), **arrays}

    def __repr__(self) -> str:
        return f"AdapterBank(layers={len(self._shapes)}, adapters={len(self)}/{self.capacity - 1})"
