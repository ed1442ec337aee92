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
from pathlib import Path
from typing import NamedTuple

from headstock.errors import Exhausted, FailedPrecondition
from headstock.servable import ServableBackbone, ServableModel
from headstock_server.engine.residency import Residency, ResidentKey, Usage

OVERHEAD = 24 << 20
"""Bytes of a session's bookkeeping, and of what the largest pass writes between layers. For all-MiniLM-L6-v2 that was a
few MiB where a pass holds 256 tokens, and about 45 MiB at 1,024; this stands between the two."""
GRAPH_FACTOR = 1.35
"""Resident bytes of a session over those of its file: ONNX Runtime keeps packed copies of the matrices that it
multiplies by. Measured on Linux with ONNX Runtime on CPU: 1.32 for all-MiniLM-L6-v2, half of which are embeddings."""
TOKENIZER_FACTOR = 25
"""The same for the files of a preprocessing: a vocabulary of 0.45 MiB becomes 10.8 MiB of tables."""
_COLLECT_AFTER = 0.5
_COLLECT_SHARE = 4
"""A collection is not begun again before so many times what the last one took."""
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


class Size(NamedTuple):
    """Estimated bytes of a model."""

    session: int
    """Of the session that it stands on."""
    part: int
    """Of its own head and adapter."""


def estimate(servable: ServableModel) -> tuple[ResidentKey, Size]:
    """Which session a model needs, and its bytes, by the sizes of the files that are read for it."""
    backbone, adapter = servable.backbone, servable.adapter
    part = session_bytes(servable.parameters) if servable.head.form == "graph" else servable.parameters.stat().st_size
    if adapter is not None:
        part += adapter.parameters.stat().st_size
        session = session_bytes(adapter.graph) + _preprocessing_bytes(backbone)
        return ResidentKey(backbone.digest, adapter.graph_digest), Size(session, part)
    if backbone.stem is not None:
        return ResidentKey(backbone.digest, stem=backbone.stem.digest), Size(session_bytes(backbone.stem.upper), part)
    return ResidentKey(backbone.digest), Size(session_bytes(backbone.graph) + _preprocessing_bytes(backbone), part)


def session_bytes(graph: Path) -> int:
    """Estimated bytes of a session of that file."""
    return OVERHEAD + int(GRAPH_FACTOR * graph.stat().st_size)


def estimate_stem(servable: ServableModel) -> tuple[ResidentKey, Size] | None:
    """The same of the stem that a model's backbone stands on; None where it is served whole."""
    stem = servable.backbone.stem
    if servable.adapter is not None or stem is None:
        return None
    session = session_bytes(stem.graph) + _preprocessing_bytes(servable.backbone)
    return ResidentKey(stem.digest, stem=stem.digest), Size(session, 0)


def _preprocessing_bytes(backbone: ServableBackbone) -> int:
    others = {path for role, path in backbone.files.items() if role != "graph"}
    return TOKENIZER_FACTOR * sum(path.stat().st_size for path in others)


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
        self._beside: dict[ResidentKey, Callable[[], int]] = {}
        self._waits = 0

    @contextmanager
    def room(self, key: ResidentKey, size: Size, *, evict: bool = True) -> Iterator[Usage]:
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
                self._policy.settle(key, size.part)

    @contextmanager
    def rooms(self, servable: ServableModel, *, evict: bool = True, part: bool = True) -> Iterator[Usage]:
        """`room` for all that a model needs; the use to note is that of its backbone.

        Without `part`, somebody else keeps room for its head and its adapter.
        """
        key, size = estimate(servable)
        stem = estimate_stem(servable)
        with ExitStack() as stack:
            if stem is not None:
                with self._lock:
                    # Nobody leaves for the one half if both never fit.
                    self._policy.check(key, size.session + stem[1].session, size.part)
                stack.enter_context(self.room(*stem, evict=evict))
            yield stack.enter_context(self.room(key, size if part else size._replace(part=0), evict=evict))

    def watch(self, key: ResidentKey, session: object, beside: Callable[[], int]) -> None:
        """A session was opened in the room that is kept for it; its bytes are free once it is closed.

        `beside` says how many bytes the adapters and heads on it take now; it must not keep the session open.
        """
        with self._lock:
            self._policy.opened(key)
            self._beside[key] = beside
        weakref.finalize(session, self._closed.append, key).atexit = False

    def pin(self, keys: Collection[ResidentKey]) -> None:
        """These and no others stay whatever else is asked for."""
        with self._lock:
            self._policy.pin(keys)

    def report(self) -> MemoryReport:
        """What is resident now."""
        with self._lock:
            self._collect()
            sizes = {key: resident.total for key, resident in self._policy.residents.items()}
            policy = self._policy
            return MemoryReport(policy.budget, policy.size, policy.evictions, self._waits, sizes)

    # ------------------------------------------------------------------------------------------ waiting for room
    def _enter(self, key: ResidentKey, size: Size, *, only_settled: bool = False) -> bool:
        with self._lock:
            self._collect()
            if only_settled:
                resident = self._policy.residents.get(key)
                if resident is None or resident.leaving:
                    return False
            return self._policy.enter(key, *size)

    def _make_room(self, key: ResidentKey, size: Size, *, evict: bool) -> None:
        started = time.monotonic()
        collect_after, waited = _COLLECT_AFTER, False
        while not self._enter(key, size):
            self._check(key, size)
            with self._lock:
                if not evict:
                    raise NoRoom(f"a model on backbone {key.backbone[:19]} does not fit; the memory budget is full")
                leaving = self._policy.leave(key, *size)
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
            if passed > collect_after:
                # Again and again: what leaves may become garbage after the first time, and nothing else may collect it.
                began = time.monotonic()
                gc.collect()
                took = time.monotonic() - began
                collect_after = passed + took + max(_COLLECT_AFTER, _COLLECT_SHARE * took)
            time.sleep(min(_POLL, 0.001 + passed / 4))

    def _check(self, key: ResidentKey, size: Size) -> None:
        """Raise for what is larger than the budget, heads left out that left and that nothing has collected yet."""
        try:
            with self._lock:
                self._policy.check(key, *size)
        except FailedPrecondition:
            gc.collect()
            with self._lock:
                self._collect()
                self._policy.check(key, *size)

    def _collect(self) -> None:
        # Caller holds the lock.
        while self._closed:
            self._policy.closed(self._closed.popleft())
        self._beside = {key: beside for key, beside in self._beside.items() if key in self._policy.residents}
        for key, beside in self._beside.items():
            self._policy.hold(key, beside())

    def __repr__(self) -> str:
        return f"MemoryBudget({self._policy!r})"


def _nobody(_: ResidentKey) -> None:
    """Nothing names backbones."""
