"""Licence texts recognised by the hash of their words, where a record knows it."""

from __future__ import annotations

import hashlib
import re
from functools import cache

from headstock.licences import library


def recognise_words(text: str) -> str:
    """The expression that a text is, word for word; empty if no record knows it.

    One text can belong to two ids: the GPL's does not say whether "or later" was granted. Then it is a choice.
    """
    return " OR ".join(_by_words().get(words_digest(text), ()))


def words_digest(text: str) -> str:
    """SHA-256 of the lower-case letters and digits, single spaces between words."""
    words = " ".join(re.findall(r"[a-z0-9]+", text.lower()))
    return f"sha256:{hashlib.sha256(words.encode()).hexdigest()}"


@cache
def _by_words() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for licence in library.ids():
        for document in library.get(licence).documents:
            if document.words:
                found[document.words] = (*found.get(document.words, ()), licence)
    return found
