"""SHA-256 digests written `sha256:<64 hex>`, and the one canonical JSON that they are taken of."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NewType

import headstock.errors as errors

Digest = NewType("Digest", str)
"""`sha256:` and 64 lower-case hex digits."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CHUNK = 1 << 20


def check_digest(text: str) -> Digest:
    """Return `text` as a digest or raise `InvalidInput`."""
    if not _DIGEST.fullmatch(text):
        raise errors.InvalidInput(f"{text[:80]!r} is not a digest; expected 'sha256:' and 64 hex digits")
    return Digest(text)


def short(digest: str, length: int = 12) -> str:
    """The first `length` hex digits, for tables and messages."""
    return digest.removeprefix("sha256:")[:length]


def digest_bytes(data: bytes | memoryview) -> Digest:
    """Digest of a byte string."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def digest_file(path: Path) -> Digest:
    """Digest of a file's contents, read in chunks."""
    with path.open("rb") as file:
        return Digest("sha256:" + hashlib.file_digest(file, "sha256").hexdigest())


def canonical_json(value: Any) -> bytes:
    """The one encoding that digests are taken of: sorted keys, no spaces, UTF-8, no NaN; floats as `repr`."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_json(value: Any) -> Digest:
    """Digest of a value's canonical JSON."""
    return digest_bytes(canonical_json(value))


def digest_tensors(tensors: Mapping[str, tuple[str, tuple[int, ...], bytes | memoryview]]) -> Digest:
    """Digest of named tensors `(dtype, shape, little-endian row-major bytes)`, independent of file layout and order.

    The same weights pulled from a hub, a directory or a package therefore have one digest.
    """
    outer = hashlib.sha256()
    for name in sorted(tensors):
        dtype, shape, data = tensors[name]
        inner = hashlib.sha256(data).hexdigest()
        outer.update(canonical_json([name, dtype, list(shape), inner]) + b"\n")
    return Digest("sha256:" + outer.hexdigest())


def chunks(path: Path, size: int = _CHUNK) -> Iterable[bytes]:
    """The file's bytes in pieces of `size`."""
    with path.open("rb") as file:
        while piece := file.read(size):
            yield piece
