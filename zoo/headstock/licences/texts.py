"""Licence texts recognised by the hash of their words, or said to be like a known one; no text is kept."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from headstock.licences import library
from headstock.licences.likeness import Sketch, likeness, sketch, unpacked, words_of

_DATA = Path(__file__).parent / "data" / "texts.toml"

NEAR = 0.9
"""Likeness from which a text is worth naming beside a known one."""

_TITLES = (
    "a all and by c copyright copyrighted date et al in inc international license licence licensed licensor llc ltd of "
    "public reserved rights software terms text the this title under version work"
)
_HARMLESS = frozenset(_TITLES.split())
"""Words of titles and owner lines that may stand before a licence's own."""


@dataclass(frozen=True, slots=True)
class Known:
    """What one text is recognised by."""

    words: str
    """SHA-256 of its words."""
    count: int
    """Number of its words."""
    sketch: Sketch


def recognise_words(text: str) -> str:
    """The expression that a text is, word for word after its title and owner; empty if no record knows it.

    One text can belong to two ids: the GPL's does not say whether "or later" was granted. Then it is a choice.
    """
    known = _by_words(library.edition())
    words = words_of(text)
    found = known.get(_digest(words), ())
    return " OR ".join(found or _behind_title(text, words, known))


def resembled(text: str) -> tuple[str, float]:
    """The known licence that a text is most like, and how much (0 to 1); none below `NEAR`."""
    own = sketch(words_of(text))
    likest = max(((likeness(own, one.sketch), licence) for licence, one in _known().items()), default=(0.0, ""))
    return (_with_later(likest[1]), likest[0]) if likest[0] >= NEAR else ("", 0.0)


def is_known(licence: str) -> bool:
    """Whether a text can be compared with the licence's own."""
    doc = library.find(licence)
    plain = licence.replace("-or-later", "-only")
    return plain in _known() or (doc is not None and any(d.words for d in doc.documents))


def words_digest(text: str) -> str:
    """SHA-256 of the lower-case letters and digits, single spaces between words."""
    return _digest(words_of(text))


def _digest(words: list[str]) -> str:
    return f"sha256:{hashlib.sha256(' '.join(words).encode()).hexdigest()}"


def _behind_title(text: str, words: list[str], known: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Licences whose words are the text's last ones, with nothing but a title and owners before them."""
    from headstock.sources.licence_text import OWNER_LINE

    for licence, one in _known().items():
        before = len(words) - one.count
        if 0 < before <= 60 and _digest(words[before:]) == one.words:
            head = _head(text, before)
            title = {*_HARMLESS, *words_of(licence), *words_of(library.get(licence).name)}
            if set(words_of(OWNER_LINE.sub("", head))) <= title:
                return known.get(one.words, (licence,))
    return ()


def _head(text: str, count: int) -> str:
    """The text up to its word number `count`."""
    ends = [match.end() for match in re.finditer(r"[a-z0-9]+", text.lower())]
    return text[: ends[count - 1]]


@cache
def _known() -> Mapping[str, Known]:
    rows = library.read_toml(_DATA)
    return {licence: Known(row["words"], row["count"], unpacked(row["sketch"])) for licence, row in rows.items()}


@lru_cache(maxsize=8)
def _by_words(edition: object) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for licence in library.ids():
        for document in library.get(licence).documents:
            if document.words:
                found.setdefault(document.words, set()).add(licence)
    for licence, one in _known().items():
        found.setdefault(one.words, set()).update(_with_later(licence).split(" OR "))
    return {words: tuple(sorted(licences)) for words, licences in found.items()}


def _with_later(licence: str) -> str:
    """A text does not say whether later versions were granted too."""
    later = licence.replace("-only", "-or-later")
    return f"{licence} OR {later}" if later != licence and library.find(later) else licence
