"""The licences that a policy refuses, from what a person wrote: ids, names of hubs, whole families."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headstock.errors import InvalidInput
from headstock.licences import library
from headstock.licences.aliases import resolve


def refused_licences(written: Any) -> tuple[str, ...]:
    """Ids, sorted. `llama3.1` is its record's id, `gpl` every version; SPDX ids count without a record too.

    Raises `InvalidInput` for what names no licence: it would refuse nothing.
    """
    if not isinstance(written, list | tuple) or not all(isinstance(name, str) for name in written):
        raise InvalidInput(f"the policy's licences of refuse are {written!r}; expected a list of licences")
    return tuple(sorted({licence for name in written for licence in _meant(name)}))


def _meant(name: str) -> Sequence[str]:
    meaning = resolve(name)
    if meaning.expression is not None and meaning.expression.op == "licence":
        return [meaning.expression.licence]
    if meaning.kind == "ambiguous" and meaning.candidates:
        return meaning.candidates
    from difflib import get_close_matches

    raise InvalidInput(
        f"the policy refuses {name!r}, which is no licence; expected an id of 'headstock licence list', an SPDX id or "
        "what a hub calls it",
        fix=" or ".join(get_close_matches(name, [*library.ids(), *library.aliases()], n=3)) or None,
    )
