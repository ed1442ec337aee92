"""Host memory that a GPU can copy from without a detour: buffers that are reused, page-locked where CUDA is there."""

from __future__ import annotations

import ctypes
import logging
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_RUNTIMES = ("libcudart.so.13", "libcudart.so.12")

log = logging.getLogger("headstock.graph")

PageLock = Callable[[int, int], Callable[[], object] | None]
"""Locks (address, bytes) and returns what unlocks it; None where it cannot."""


class Staging:
    """Buffers by name for one thread at a time. A view lasts until the next of that name."""

    def __init__(self, lock: PageLock | None = None) -> None:
        """Buffers in plain memory, or locked by `lock`."""
        self._lock = lock
        self._buffers: dict[str, npt.NDArray[np.uint8]] = {}

    def view(self, name: str, shape: Sequence[int], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """An array of that shape in the buffer of that name, which grows by doubling."""
        kind = np.dtype(dtype)
        size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        buffer = self._buffers.get(name)
        if buffer is None or len(buffer) < size:
            buffer = self._buffers[name] = self._made(max(size, 2 * (0 if buffer is None else len(buffer)), 4096))
        return buffer[:size].view(kind).reshape(shape)

    def _made(self, size: int) -> npt.NDArray[np.uint8]:
        buffer = np.zeros(size, np.uint8)
        unlock = None if self._lock is None else self._lock(buffer.ctypes.data, size)
        if unlock is not None:
            # Views keep the buffer, and the buffer its lock.
            weakref.finalize(buffer, unlock).atexit = False
        return buffer


def cuda_page_lock() -> PageLock | None:
    """`cudaHostRegister` of the CUDA runtime that ONNX Runtime uses; None if there is none."""
    for name in _RUNTIMES:
        try:
            library = ctypes.CDLL(name)
            return _page_lock(library.cudaHostRegister, library.cudaHostUnregister)
        except (OSError, AttributeError):
            continue
    log.warning("no CUDA runtime of %s was found: inputs go to the GPU through pageable memory", list(_RUNTIMES))
    return None


def _page_lock(register: Any, unregister: Any) -> PageLock:
    register.argtypes, register.restype = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint], ctypes.c_int
    unregister.argtypes, unregister.restype = [ctypes.c_void_p], ctypes.c_int

    def lock(address: int, size: int) -> Callable[[], object] | None:
        return (lambda: unregister(address)) if register(address, size, 0) == 0 else None

    return lock
