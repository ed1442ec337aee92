"""What goes between a front end and the engine's process: frames of fixed layout around bytes that gRPC carried.

A frame is a header (length of the rest, kind, call) and a payload. The engine's greeting lists its methods; after that,
a front end opens a call with `CALL` and both sides send what belongs to it under its number until the engine's `END`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple

HEADER = struct.Struct("<IBxxxQ")
"""Bytes of payload, kind, number of the call."""

_OPENING = struct.Struct("<dHHB")
"""Seconds left (negative: no deadline), bytes of the method's path, entries of metadata, 1 if a message follows."""
_ENDING = struct.Struct("<BBHI")
"""gRPC status code, 1 if a message follows, entries of metadata, bytes of details."""
_ENTRY = struct.Struct("<HI")
"""Bytes of a key and of its value."""
_METHOD = struct.Struct("<HBB")
"""Bytes of the path; 1 if requests are a stream; 1 if answers are."""

Metadata = Sequence[tuple[str, "str | bytes"]]


class Kind(IntEnum):
    """What a frame is."""

    GREETING = 0
    CALL = 1
    MESSAGE = 2
    """One message of a stream, either way."""
    CLOSE = 3
    """The caller sends no more messages."""
    CANCEL = 4
    TAKEN = 5
    """The other side took a message of a stream, so one more may be sent."""
    END = 6
    LISTENING = 7
    """The front end takes calls from now on."""


class Method(NamedTuple):
    """One RPC that the engine answers."""

    path: str
    """`/package.Service/Method`."""
    requests: bool
    """Whether the caller streams."""
    answers: bool
    """Whether the engine streams."""


class Opening(NamedTuple):
    """The payload of `CALL`."""

    path: str
    remaining: float | None
    """Seconds until the caller's deadline."""
    metadata: Metadata
    message: bytes | None
    """The request of a call that sends one."""


class Ending(NamedTuple):
    """The payload of `END`."""

    code: int
    details: str
    metadata: Metadata
    """Trailing metadata."""
    message: bytes | None
    """The answer of a call that gets one."""


def greeting(methods: Iterable[Method]) -> bytes:
    """The payload of `GREETING`."""
    return b"".join(_METHOD.pack(len(m.path), m.requests, m.answers) + m.path.encode() for m in methods)


def methods(payload: bytes) -> list[Method]:
    """The methods in a greeting."""
    found, at = [], 0
    while at < len(payload):
        length, requests, answers = _METHOD.unpack_from(payload, at)
        at += _METHOD.size
        found.append(Method(payload[at : at + length].decode(), bool(requests), bool(answers)))
        at += length
    return found


def pack_opening(opening: Opening) -> list[bytes]:
    """The payload of `CALL` in parts, so that a large message is not copied."""
    path = opening.path.encode()
    remaining = -1.0 if opening.remaining is None else max(0.0, opening.remaining)
    fixed = _OPENING.pack(remaining, len(path), len(opening.metadata), opening.message is not None)
    return [fixed, path, *_packed(opening.metadata), opening.message or b""]


def unpack_opening(payload: bytes) -> Opening:
    """The inverse of `pack_opening`."""
    remaining, length, entries, has_message = _OPENING.unpack_from(payload)
    at = _OPENING.size
    path = payload[at : at + length].decode()
    metadata, at = _unpacked(payload, at + length, entries)
    return Opening(path, None if remaining < 0 else remaining, metadata, payload[at:] if has_message else None)


def pack_ending(ending: Ending) -> list[bytes]:
    """The payload of `END` in parts."""
    details = ending.details.encode()
    fixed = _ENDING.pack(ending.code, ending.message is not None, len(ending.metadata), len(details))
    return [fixed, details, *_packed(ending.metadata), ending.message or b""]


def unpack_ending(payload: bytes) -> Ending:
    """The inverse of `pack_ending`."""
    code, has_message, entries, length = _ENDING.unpack_from(payload)
    at = _ENDING.size
    details = payload[at : at + length].decode()
    metadata, at = _unpacked(payload, at + length, entries)
    return Ending(code, details, metadata, payload[at:] if has_message else None)


def _packed(metadata: Metadata) -> Iterable[bytes]:
    for key, value in metadata:
        name, data = key.encode(), value.encode() if isinstance(value, str) else value
        yield _ENTRY.pack(len(name), len(data))
        yield name
        yield data


def _unpacked(payload: bytes, at: int, entries: int) -> tuple[list[tuple[str, str | bytes]], int]:
    found: list[tuple[str, str | bytes]] = []
    for _ in range(entries):
        name, data = _ENTRY.unpack_from(payload, at)
        at += _ENTRY.size
        key, value = payload[at : at + name].decode(), payload[at + name : at + name + data]
        # gRPC's own rule: binary values stand under keys that say so.
        found.append((key, value if key.endswith("-bin") else value.decode()))
        at += name + data
    return found, at
