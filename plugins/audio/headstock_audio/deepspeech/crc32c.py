"""CRC-32C (Castagnoli) of large buffers with numpy: many stretches side by side, then joined."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_POLYNOMIAL = 0x82F63B78
_LANE = 4096
"""Bytes per stretch."""

Words = npt.NDArray[np.uint32]


def _table() -> Words:
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, (values >> 1) ^ np.uint32(_POLYNOMIAL), values >> 1)
    return values


_TABLE = _table()


def crc32c(data: bytes | memoryview) -> int:
    """The checksum as TensorFlow and RFC 3720 define it."""
    octets = np.frombuffer(data, np.uint8)
    lanes = len(octets) // _LANE
    crc = 0xFFFFFFFF
    if lanes:
        for lane in _lanes(octets[: lanes * _LANE].reshape(lanes, _LANE)).tolist():
            # Checksums are linear: what came before moves on by a lane of zeros and is added to the lane's own.
            crc = _moved(crc) ^ lane
    for octet in octets[lanes * _LANE :].tolist():
        crc = (crc >> 8) ^ int(_TABLE[(crc ^ octet) & 0xFF])
    return crc ^ 0xFFFFFFFF


def unmasked(stored: int) -> int:
    """The checksum behind TensorFlow's rotation, which keeps checksums of checksums apart."""
    rotated = (stored - 0xA282EAD8) & 0xFFFFFFFF
    return ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF


def _lanes(octets: npt.NDArray[np.uint8]) -> Words:
    """Raw checksum of every row, beginning with 0."""
    crcs = np.zeros(len(octets), np.uint32)
    for column in np.ascontiguousarray(octets.T):
        crcs = (crcs >> np.uint32(8)) ^ _TABLE[(crcs ^ column) & np.uint32(0xFF)]
    return crcs


def _shift_tables() -> list[list[int]]:
    """For each of a checksum's four bytes: what every value of it becomes behind a lane of zeros."""
    states = (np.arange(256, dtype=np.uint32)[None, :] << np.array([[0], [8], [16], [24]], np.uint32)).ravel()
    for _ in range(_LANE):
        states = (states >> np.uint32(8)) ^ _TABLE[states & np.uint32(0xFF)]
    return [row.tolist() for row in states.reshape(4, 256)]


_SHIFT = _shift_tables()


def _moved(crc: int) -> int:
    a, b, c, d = _SHIFT
    return int(a[crc & 0xFF] ^ b[(crc >> 8) & 0xFF] ^ c[(crc >> 16) & 0xFF] ^ d[crc >> 24])
