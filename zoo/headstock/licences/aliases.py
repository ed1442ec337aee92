"""What a source wrote about a licence, resolved: one expression, several candidates, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from headstock.errors import InvalidInput
from headstock.licences import library
from headstock.licences.expression import Expression, parse

NOASSERTION = "NOASSERTION"


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a text means."""

    kind: Literal["licence", "ambiguous", "unstated", "unknown"]
    """`unknown`: it names something that nobody has a record of; `unstated`: it says nothing."""
    expression: Expression | None = None
    candidates: tuple[str, ...] = ()
    """For `ambiguous`: the licences that it may mean."""
    closed: bool = False
    """True if it can mean nothing but the candidates."""
    living: bool = False
    """True if the candidates are editions of one document, of which there may be others."""
    why: str = ""


def resolve(text: str) -> Resolution:
    """The meaning of one `license` value, an SPDX expression or the id of a record; never a guess."""
    return _resolve(text, library.edition())


@lru_cache(maxsize=4096)
def _resolve(text: str, edition: object) -> Resolution:
    plain = " ".join(text.split())
    if plain in library.ids():
        return Resolution("licence", parse(plain))
    entry = library.aliases().get(plain.lower())
    if entry is None:
        return _expression(plain)
    if "licence" in entry:
        return Resolution("licence", parse(entry["licence"]))
    if "ambiguous" in entry:
        candidates = tuple(entry["ambiguous"])
        closed, living = bool(entry.get("closed")), bool(entry.get("living"))
        return Resolution("ambiguous", None, candidates, closed, living, entry.get("why", ""))
    return Resolution("unstated")


def _expression(plain: str) -> Resolution:
    if not plain or plain == NOASSERTION:
        return Resolution("unstated")
    # Imported here because it loads the SPDX list, which most look-ups do not need.
    from headstock.sources.licence_ids import normalise

    found = normalise(plain)
    if found != NOASSERTION:
        return Resolution("licence", parse(found))
    try:
        expression = parse(plain)
    except InvalidInput:
        return Resolution("unknown", why=f"{plain[:80]!r} is not understood")
    known = all(library.find(base(licence)) is not None for licence in expression.licences())
    return Resolution("licence", expression) if known else Resolution("unknown", why=f"no record of {plain[:80]!r}")


def base(licence: str) -> str:
    """The licence of `LICENCE WITH EXCEPTION`: an exception only adds permissions, so leaving it out is safe."""
    return licence.partition(" WITH ")[0]
