"""Who asks, as far as the caller says so; what the name is worth is the data plane's to say."""

from __future__ import annotations

from collections.abc import Iterable

from headstock.errors import InvalidInput

TENANT = "headstock-tenant"
"""Metadata key, and HTTP header, of a call; any text. It is a claim: nothing here checks who calls."""


def tenant_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """The tenant that the metadata names; empty for callers that name none.

    Raises `InvalidInput` for two different names: a caller's own must not stand before the one that a gateway adds.
    """
    found = ""
    for key, value in metadata or ():
        if key == TENANT and value:
            name = value if isinstance(value, str) else value.decode("utf-8", "replace")
            if found and name != found:
                raise InvalidInput(
                    f"the call names two tenants, {found[:80]!r} and {name[:80]!r}", fix=f"one {TENANT} for each call"
                )
            found = name
    return found
