"""Keeps the loaded backbones within a memory budget: estimates sizes, makes room, and waits until it is free."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from headstock.errors import Exhausted
from headstock.servable import ServableModel
from headstock_server.engine.residency import Residency, ResidentKey, Usage, mib

OVERHEAD = 4 << 20
"""Bytes of a session, its arena and its tokenizer beside the weights."""
_COLLECT_AFTER = 0.5
_POLL = 0.05


class NoRoom(Exhausted):
    """There is no room without making others leave, and the caller did not want that."""


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """The budget at one moment."""

    budget: int | None
    size: int
    """Estimated bytes of everything resident."""
    evictions: int
    waits: int
    """Loads that had to wait until another backbone's last request was answered."""
    residents: Mapping[ResidentKey, int]
    """Estimated bytes of each."""


def estimate(servable: ServableModel) -> tuple[ResidentKey, int]:
    """Which session a model needs, and its bytes: every file that is read for it, and a fixed share for the rest."""
    backbone, adapter = servable.backbone, servable.adapter
    if adapter is None and backbone.stem is not None:
        upper = backbone.stem.upper.stat().st_size
        return ResidentKey(backbone.digest, stem=backbone.stem.digest), OVERHEAD + upper
    graph = backbone.graph if adapter is None else adapter.graph
    others = [path for role, path in backbone.files.items() if role != "graph"]
    size = OVERHEAD + sum(path.stat().st_size for path in {graph, *others})
    return ResidentKey(backbone.digest, "" if adapter is None else adapter.graph_digest), size


def estimate_stem(servable: ServableModel) -> tuple[ResidentKey, int] | None:
    """The same of the stem that a model's backbone stands on; None where it is served whole."""
    backbone = servable.backbone
    if servable.adapter is not None or backbone.stem is None:
        return None
    others = [path for role, path in backbone.files.items() if role != "graph"]
    size = OVERHEAD + sum(path.stat().st_size for path in {backbone.stem.graph, *others})
    return ResidentKey(backbone.stem.digest, stem=backbone.stem.digest), size


class MemoryBudget:
    """The residency policy among threads. No pass takes its lock, and nothing is loaded while it is held."""

    def __init__(self, budget: int | None = None, *, wait_seconds: float = 60.0) -> None:
        """Keep at most `budget` bytes, None for no limit; wait for room at most `wait_seconds`."""
        self.evict: Callable[[ResidentKey], None] = _nobody
        """Makes whoever names a backbone forget it; set by the owner of the models."""
        self._policy = Residency(budget)
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        # One load at a time looks for room: a backbone that is leaving cannot be taken back by its next request before
        # the load that it leaves for has its bytes.
        self._entrance = threading.Lock()
        # A deque because a finaliser may run inside any allocation, where taking a lock could deadlock.
        self._closed: deque[ResidentKey] = deque()
        self._waits = 0

    @contextmanager
    def room(self, key: ResidentKey, size: int, *, evict: bool = True) -> Iterator[Usage]:
        """Room for a backbone while the block loads it and a model of it becomes known; blocks until there is room.

        Raises `FailedPrecondition` if it is larger than the budget, `Exhausted` if what is pinned is in the way or
        requests on what has to leave take too long, and `NoRoom` where `evict` is false and there is none.
        """
        if not self._enter(key, size, only_settled=True):
            with self._entrance:
                self._make_room(key, size, evict=evict)
        try:
            with self._lock:
                usage = self._policy.residents[key].usage
            usage.used_ns = max(usage.used_ns, time.monotonic_ns())
            yield usage
        finally:
            with self._lock:
                self._policy.settle(key)

    @contextmanager
    def rooms(self, servable: ServableModel, *, evict: bool = True) -> Iterator[Usage]:
        """`room` for all that a model needs; the use to note is that of its backbone."""
        with ExitStack() as stack:
            stem = estimate_stem(servable)
            if stem is not None:
                stack.enter_context(self.room(*stem, evict=evict))
            yield stack.enter_context(self.room(*estimate(servable), evict=evict))

    def watch(self, key: ResidentKey, session: object) -> None:
        """A session was opened in the room that is kept for it; its bytes are free once it is closed."""
        with self._lock:
            self._policy.opened(key)
        weakref.finalize(session, self._closed.append, key).atexit = False

    def pin(self, keys: Collection[ResidentKey]) -> None:
        """These and no others stay whatever else is asked for."""
        with self._lock:
            self._policy.pin(keys)

    def report(self) -> MemoryReport:
        """What is resident now."""
        with self._lock:
            self._collect()
            sizes = {key: resident.size for key, resident in self._policy.residents.items()}
            policy = self._policy
            return MemoryReport(policy.budget, policy.size, policy.evictions, self._waits, sizes)

    # ------------------------------------------------------------------------------------------ waiting for room
    def _enter(self, key: ResidentKey, size: int, *, only_settled: bool = False) -> bool:
        with self._lock:
            self._collect()
            if only_settled:
                resident = self._policy.residents.get(key)
                if resident is None or resident.leaving:
                    return False
            return self._policy.enter(key, size)

    def _make_room(self, key: ResidentKey, size: int, *, evict: bool) -> None:
        started = time.monotonic()
        collected = waited = False
        while not self._enter(key, size):
            with self._lock:
                self._policy.check(key, size)
                if not evict:
                    raise NoRoom(f"backbone {key.backbone[:19]} takes about {mib(size)}; the memory budget is full")
                leaving = self._policy.leave(key, size)
            for victim in leaving:
                self.evict(victim)
            if self._enter(key, size):
                return
            if not waited:
                self._waits += 1
                waited = True
            passed = time.monotonic() - started
            if passed > self._wait_seconds:
                raise Exhausted(
                    f"no room for backbone {key.backbone[:19]} after {passed:.0f} s: requests on what has to leave are "
                    "not answered yet",
                    retry_after=1.0,
                )
            if passed > _COLLECT_AFTER and not collected:
                gc.collect()
                collected = True
            time.sleep(min(_POLL, 0.001 + passed / 4))

    def _collect(self) -> None:
        # Caller holds the lock.
        while self._closed:
            self._policy.closed(self._closed.popleft())

    def __repr__(self) -> str:
        return f"MemoryBudget({self._policy!r})"


def _nobody(_: ResidentKey) -> None:
    """Nothing names backbones."""
