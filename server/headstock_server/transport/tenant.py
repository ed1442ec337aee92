"""Who asks, as far as the caller says so: tenants take turns when more waits than fits."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

TENANT = "headstock-tenant"
"""Metadata key, and HTTP header, of a call; any text. Nothing is secret behind it, so nothing checks it."""

_SHARES = 256
"""Tenants are told apart by a hash of so many values: nobody fills memory with invented names, and two that meet in
one share take turns with the others as one."""


def tenant_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """The share of the tenant that the metadata names; empty for callers that name none."""
    for key, value in metadata or ():
        if key == TENANT and value:
            raw = value.encode() if isinstance(value, str) else value
            return str(zlib.crc32(raw) % _SHARES)
    return ""
