"""Loads versions once each, whoever asks for them, and remembers what failed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from headstock.catalogue import Catalogue
from headstock.errors import Exhausted, HeadstockError, NotFound
from headstock.names import Reference
from headstock.records import ModelIdentity, Version
from headstock.servable import load_model
from headstock_server.engine import Engine, LoadedModel
from headstock_server.repository.index import State

logger = logging.getLogger(__name__)

RETRY_SECONDS = 30.0
"""How long a version that failed to load is not tried again: hashing a large broken file is not free."""

Key = tuple[str, int]
"""Name and version number."""


@dataclass(frozen=True, slots=True)
class _Failure:
    error: HeadstockError
    retry_at: float


class Loader:
    """Brings versions from the catalogue into the engine. Thread-safe."""

    def __init__(
        self,
        catalogue: Catalogue,
        engine: Engine,
        find: Callable[[Version], LoadedModel | None],
        keep: Callable[[LoadedModel], None],
        admit: Callable[[Version], None],
    ) -> None:
        """`find` says what is loaded already; `keep` takes what was loaded, before waiting callers look again.

        `admit` raises for what may not be loaded; that is asked every time and not remembered as a failure.
        """
        self._admit = admit
        self._catalogue = catalogue
        self._engine = engine
        self._find = find
        self._keep = keep
        self._lock = threading.Lock()
        self._failures: dict[Key, _Failure] = {}
        self._loading: dict[Key, threading.Lock] = {}

    def load(self, version: Version, *, evict: bool = True) -> LoadedModel:
        """The loaded version; concurrent callers share one load. Raises why it cannot, again for a while.

        Where the memory budget is full, other backbones leave for it unless `evict` is false; then it raises `NoRoom`.
        """
        key = (version.name, version.number)
        model = self._at_hand(version)
        if model is not None:
            return model
        self._admit(version)
        with self._lock:
            mine = self._loading.setdefault(key, threading.Lock())
        with mine:
            try:
                model = self._at_hand(version)
                if model is None:
                    model = self._open(version, evict=evict)
                    logger.info("loaded %s", version)
            finally:
                with self._lock:
                    self._loading.pop(key, None)
        return model

    def state(self, version: Version) -> tuple[State, str]:
        """State and reason of a version that is not loaded."""
        key = (version.name, version.number)
        with self._lock:
            if key in self._loading:
                return "LOADING", "loading"
            if key in self._failures:
                return "UNAVAILABLE", str(self._failures[key].error)
        return "UNAVAILABLE", "not loaded; the first request for it loads it"

    def forget(self, name: str) -> None:
        """Try what failed under a name again when it is next asked for, without waiting."""
        with self._lock:
            self._failures = {key: failure for key, failure in self._failures.items() if key[0] != name}

    def may_retry(self, version: Version) -> bool:
        """True if the version failed, long enough ago."""
        with self._lock:
            failure = self._failures.get((version.name, version.number))
        return failure is not None and failure.retry_at <= time.monotonic()

    def _at_hand(self, version: Version) -> LoadedModel | None:
        """The model if it is loaded; raises if it failed a moment ago."""
        model = self._find(version)
        if model is None:
            with self._lock:
                failure = self._failures.get((version.name, version.number))
            if failure is not None and time.monotonic() < failure.retry_at:
                raise failure.error.with_traceback(None)
        return model

    def _open(self, version: Version, *, evict: bool) -> LoadedModel:
        key = (version.name, version.number)
        try:
            backbone = None
            if version.kind == "model":
                identity = ModelIdentity.from_json(self._catalogue.artefact(version.subject).identity)
                backbone = self._engine.servable(identity.backbone)
            servable = self._engine.suited(load_model(self._catalogue, version, backbone))
            # Kept until the model is known by name: before that nobody could tell it to leave.
            with self._engine.memory.rooms(servable, evict=evict):
                model = self._engine.load(servable)
                self._keep(model)
        except Exhausted:
            # Room can come back at any moment, so this is not remembered as a failure.
            raise
        except Exception as cause:
            self._check_there(version, cause)
            error = _as_domain_error(version, cause)
            with self._lock:
                self._failures[key] = _Failure(error, time.monotonic() + RETRY_SECONDS)
            if error is cause:
                raise
            raise error from cause
        with self._lock:
            self._failures.pop(key, None)
        return model

    def _check_there(self, version: Version, cause: Exception) -> None:
        """Raise `NotFound` for what was removed, files and all, while it loaded; that is no failure to remember."""
        try:
            self._catalogue.version(Reference(version.name, str(version.number)))
        except NotFound as gone:
            raise gone from cause


def _as_domain_error(version: Version, cause: Exception) -> HeadstockError:
    if isinstance(cause, HeadstockError):
        return cause
    logger.error("loading %s failed", version, exc_info=cause)
    return HeadstockError(f"{version} cannot be loaded: {type(cause).__name__}; the server's log has the details")
