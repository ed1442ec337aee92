"""Who asks, as far as the caller says so; whether the name counts is the data plane's to say."""

from __future__ import annotations

from collections.abc import Iterable

TENANT = "headstock-tenant"
"""Metadata key, and HTTP header, of a call; any text. Nothing is secret behind it, so nothing checks it."""


def tenant_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """The tenant that the metadata names; empty for callers that name none."""
    for key, value in metadata or ():
        if key == TENANT:
            return value if isinstance(value, str) else value.decode("utf-8", "replace")
    return ""
