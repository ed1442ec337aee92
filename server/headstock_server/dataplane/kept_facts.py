"""What provenance is told from, read again only when something has changed: a large catalogue takes a while to read."""

from __future__ import annotations

import threading

from headstock.catalogue import Catalogue
from headstock.licences.facts import Facts
from headstock_server.repository.licence_gate import CHANGES


class KeptFacts:
    """The newest facts of one catalogue. Thread-safe."""

    def __init__(self, catalogue: Catalogue) -> None:
        """Nothing is read before the first question."""
        self._catalogue = catalogue
        self._lock = threading.Lock()
        self._seen: object = None
        self._facts: Facts | None = None

    def read(self) -> Facts:
        """The facts of now; raises `Corrupt` as `Facts.read` does."""
        with self._lock, self._catalogue.snapshot() as query:
            seen = tuple(next(iter(query(CHANGES))))
            if self._facts is None or seen != self._seen:
                self._facts, self._seen = Facts.read(query), seen
            return self._facts
