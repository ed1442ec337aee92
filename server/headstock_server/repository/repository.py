"""Which versions are loaded, under which names: follows the catalogue while requests are served."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence

from headstock.catalogue import Catalogue
from headstock.errors import FailedPrecondition, HeadstockError, NotFound, Unavailable
from headstock.names import Reference, check_name, is_number
from headstock.records import Version
from headstock_server.engine import Engine, LoadedModel
from headstock_server.engine.budget import NoRoom
from headstock_server.engine.residency import ResidentKey
from headstock_server.frames import drop_frames
from headstock_server.repository.index import IndexRow, Snapshot, State
from headstock_server.repository.lease import KeptLease
from headstock_server.repository.licence_gate import LicenceGate, Mode
from headstock_server.repository.loader import Key, Loader

logger = logging.getLogger(__name__)


class Repository:
    """Loaded models by name and selector.

    A version is loaded while it is the default of its name, while an alias that was asked for points to it, or once
    it was asked for by number. Moves of aliases and new versions are applied name by name in one step; a version
    that cannot load leaves the one before it in place.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        engine: Engine,
        names: Sequence[str] | None = None,
        *,
        strict: bool = False,
        poll_seconds: float = 0.25,
        lease_seconds: float = 60.0,
        licences: Mode = "enforce",
        pins: Sequence[str] = (),
    ) -> None:
        """Serve the models `names` (default all); `strict` makes `wait` raise if one of them cannot load.

        The backbones of the models `pins` stay loaded whatever else is asked for. `licences` says what follows from
        verdicts: what the policy says, warnings only, or nothing.
        """
        self.licences = LicenceGate(catalogue, licences)
        self.catalogue = catalogue
        self.engine = engine
        self._names = None if names is None else frozenset(names)
        self._pins = frozenset(pins)
        self._strict = strict
        self._poll_seconds = poll_seconds
        # Guards the fields below for a few microseconds at a time; never held while something loads.
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._leasing = threading.Lock()
        self._snapshot = Snapshot()
        self._loaded: dict[str, dict[int, LoadedModel]] = {}
        # Name to selector to model. The inner dicts are replaced, never changed, so `resolve` needs no lock.
        self._table: dict[str, dict[str, LoadedModel]] = {}
        self._asked: set[Key] = set()
        # Names that somebody unloaded: nothing but `load` brings them back, neither requests nor the catalogue.
        self._unloaded: set[str] = set()
        # Versions that left, or never came, for want of room: their next request loads them, and nothing else does.
        self._dormant: set[Key] = set()
        engine.memory.evict = self._evict
        self._generation: int | None = None
        self._loader = Loader(catalogue, engine, self._at_hand, self._keep, self.licences.admit)
        self._lease = KeptLease(catalogue, lease_seconds)
        self._start_error: HeadstockError | None = None
        self._loaded_once = threading.Event()
        self._stop = threading.Event()
        self._changed = threading.Event()
        # Two, so that a rollback does not wait until something large has loaded.
        self._threads = [
            threading.Thread(target=self._follow, name="repository", daemon=True),
            threading.Thread(target=self._load_changes, name="repository-loads", daemon=True),
        ]

    # ------------------------------------------------------------------------------------------ requests
    def resolve(self, name: str, selector: str = "") -> LoadedModel | None:
        """The loaded model for a name and `""`, a number or an alias; None if it is not loaded. Two dict look-ups."""
        selectors = self._table.get(name)
        return None if selectors is None else selectors.get(selector)

    def ensure(self, name: str, selector: str = "", tenant: str = "") -> LoadedModel:
        """The same, loading it if need be; blocks, so call it from an executor.

        Raises `NotFound` for what does not exist or is not served here, `FailedPrecondition` for what was unloaded,
        `LicenceRefused` for what `tenant` may not use, and whatever loading raises.
        """
        model = self.resolve(name, selector)
        if model is not None:
            return model
        version = self.find(name, selector)
        with self._lock:
            if name in self._unloaded:
                raise FailedPrecondition(
                    f"model {name!r} was unloaded on this server and answers nothing until it is loaded again",
                    fix=f"RepositoryModelLoad {name}",
                )
            if is_number(selector):
                self._asked.add((name, version.number))
            known = version.number in self._snapshot.versions.get(name, {})
        if not known:
            self._read()
        self.licences.check(version, tenant)
        loaded = self._loader.load(version)
        with self._lock:
            self._publish(name)
        return self.resolve(name, selector) or loaded

    def load(self, name: str) -> list[LoadedModel]:
        """Load what the name means now, by default and by every alias in use, and undo an `unload`; blocks.

        Returns what is loaded then. Raises `NotFound` and whatever loading raises; a version that cannot load leaves
        the one before it in place.
        """
        default = self.find(name, "")
        with self._lock:
            self._unloaded.discard(name)
            self._dormant = {key for key in self._dormant if key[0] != name}
        self._loader.forget(name)
        self._read()
        with self._lock:
            wanted = [version for version in self._wanted() if version.name == name]
            if name not in self._snapshot.versions:
                # A backbone's entry: loading it says why it cannot be served.
                wanted = [default]
        try:
            for version in wanted:
                self._loader.load(version)
        finally:
            with self._lock:
                self._publish(name)
        with self._lock:
            return list(self._loaded.get(name, {}).values())

    def unload(self, name: str) -> None:
        """Let go of every version of a name until `load`; requests that hold one are still answered by it.

        Raises `NotFound` for what does not exist or is not served here. This server forgets it when it stops.
        """
        self.find(name, "")
        with self._lock:
            self._unloaded.add(name)
            self._asked = {key for key in self._asked if key[0] != name}
            self._publish(name)
        logger.info("unloaded %s", name)

    def find(self, name: str, selector: str = "") -> Version:
        """The version that a name and selector mean, loaded or not; blocks. Raises `NotFound`."""
        reference = Reference.parse(f"{check_name(name)}:{selector}" if selector else check_name(name))
        if self._names is not None and name not in self._names:
            raise NotFound(f"this server does not serve {name!r}; it serves {', '.join(sorted(self._names))}")
        return self.catalogue.version(reference)

    def index(self, tenant: str = "") -> list[IndexRow]:
        """Every model version of the catalogue with its state for a tenant, by name, newest first. No I/O."""
        with self._lock:
            versions = [v for numbers in self._snapshot.versions.values() for v in numbers.values()]
            return [self._row(version, tenant) for version in versions]

    def loaded(self) -> list[LoadedModel]:
        """What is loaded now."""
        with self._lock:
            return [model for numbers in self._loaded.values() for model in numbers.values()]

    # ------------------------------------------------------------------------------------------ life
    @property
    def generation(self) -> int | None:
        """The catalogue's generation that was last applied, or is being applied; None before the first."""
        return self._generation

    @property
    def ready(self) -> bool:
        """True once every default version was loaded or found to fail."""
        return self._loaded_once.is_set()

    def start(self) -> None:
        """Load the defaults in the background and follow the catalogue from then on.

        Raises `NotFound` at once for a name that the catalogue does not have, `InvalidInput` for a licence policy that
        makes no sense.
        """
        self.licences.check_policy()
        for name in sorted({*(self._names or ()), *self._pins}):
            self.find(name, "")
        for thread in self._threads:
            thread.start()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until `ready`; raises `Unavailable` after `timeout` seconds, and in strict mode the first failure."""
        if not self._loaded_once.wait(timeout):
            raise Unavailable(f"models are still loading after {timeout:.0f} s")
        if self._start_error is not None:
            raise self._start_error

    def close(self) -> None:
        """Stop following the catalogue, release the lease and let go of every model."""
        self._stop.set()
        self._changed.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        with self._lock:
            self._table, self._loaded = {}, {}
        self._lease.release()

    def refresh(self) -> None:
        """Apply what the catalogue says now, and load what is missing for it; both happen by themselves soon."""
        self._apply()
        self._load_wanted()

    def _apply(self) -> None:
        """What is loaded already moves at once; it must not wait for what has to be loaded."""
        try:
            self._generation = self.catalogue.generation()
            self._read()
            self._judge()
            with self._lock:
                for name in {*self._snapshot.versions, *self._table}:
                    self._publish(name)
        except BaseException:
            # Not applied: a promotion must not wait for the next change of something else.
            self._generation = None
            raise

    def _load_wanted(self) -> None:
        snapshot: Snapshot | None = None
        wanted: deque[Version] = deque()
        tried: set[Key] = set()
        while not self._stop.is_set():
            with self._lock:
                if self._snapshot is not snapshot:
                    # What was wanted before may not be any more.
                    snapshot = self._snapshot
                    found = sorted(self._wanted(), key=lambda version: version.name not in self._pins)
                    wanted = deque(version for version in found if (version.name, version.number) not in tried)
                if not wanted:
                    return
                version = wanted.popleft()
                tried.add((version.name, version.number))
                # What is served already must not go because something that nobody asked for yet came into the
                # catalogue.
                urgent = version.name in self._pins or bool(self._table.get(version.name))
            try:
                self._loader.load(version, evict=urgent)
            except NoRoom:
                with self._lock:
                    self._dormant.add((version.name, version.number))
            except HeadstockError as error:
                # The loader remembers it, and its frames the session that was opened for nothing.
                drop_frames(error)
                if self._start_error is None and self._strict and not self.ready:
                    self._start_error = error
            with self._lock:
                self._publish(version.name)

    # ------------------------------------------------------------------------------------------ watching
    def _follow(self) -> None:
        try:
            self._apply()
        except HeadstockError as error:
            self._start_error = error
        except Exception as error:
            logger.exception("reading the catalogue failed")
            self._start_error = HeadstockError(f"the catalogue cannot be read: {type(error).__name__}")
        self._changed.set()
        while not self._stop.wait(self._poll_seconds):
            try:
                if self._has_changed() or self._retry_is_due():
                    self._apply()
                    self._changed.set()
                self._keep_lease()
            except Exception:
                # A catalogue that is away for a moment must not end the serving of what is loaded.
                logger.warning("the catalogue could not be followed; trying again", exc_info=True)

    def _load_changes(self) -> None:
        while self._changed.wait() and not self._stop.is_set():
            self._changed.clear()
            try:
                self._load_wanted()
                self._keep_lease()
            except Exception:
                # Applied, but not loaded: again, without waiting for the next change.
                self._generation = None
                logger.warning("loading what the catalogue has new failed; trying again", exc_info=True)
            self._loaded_once.set()

    def _keep_lease(self) -> None:
        with self._leasing:
            self._lease.keep({model.digest for model in self.loaded()})

    def _has_changed(self) -> bool:
        return self.catalogue.generation() != self._generation or self.licences.is_stale()

    def _judge(self) -> None:
        """Ask about every version that is known, and let the loaded ones know.

        A loaded one that the catalogue does not have any more is about to go, and nobody can say anything about it.
        """
        with self._lock:
            versions = [
                *self._snapshot.backbones,
                *(v for numbers in self._snapshot.versions.values() for v in numbers.values()),
            ]
        self.licences.refresh(versions)
        for model in self.loaded():
            self.licences.stamp(model)

    def _read(self) -> None:
        # One after the other, so that what was read later is never replaced by what was read before.
        with self._reading:
            snapshot = Snapshot.read(self.catalogue, self._names)
            with self._lock:
                self._snapshot = snapshot

    def _wanted(self) -> list[Version]:
        # Caller holds the lock. Versions that should be loaded and are not.
        wanted: dict[Key, Version] = {}
        for name in self._snapshot.versions.keys() - self._unloaded:
            targets = [self._snapshot.default(name)]
            targets += [t for a in self._table.get(name, ()) if (t := self._snapshot.target(name, a)) is not None]
            for version in targets:
                key = (name, version.number)
                if version.number not in self._loaded.get(name, {}) and key not in self._dormant:
                    wanted[name, version.number] = version
        return list(wanted.values())

    def _retry_is_due(self) -> bool:
        with self._lock:
            wanted = self._wanted()
        return any(self._loader.may_retry(version) for version in wanted)

    # ------------------------------------------------------------------------------------------ tables
    def _at_hand(self, version: Version) -> LoadedModel | None:
        with self._lock:
            return self._loaded.get(version.name, {}).get(version.number)

    def _keep(self, model: LoadedModel) -> None:
        self.licences.stamp(model)
        with self._lock:
            self._loaded.setdefault(model.name, {})[model.number] = model
            self._dormant.discard((model.name, model.number))
            self._publish(model.name)
        # Again now that it can be found: a refresh at the same time either finds it or came before.
        self.licences.stamp(model)

    def _publish(self, name: str) -> None:
        # Caller holds the lock. Rebuild one name's selectors and let go of the versions that none of them needs.
        known = self._snapshot.versions.get(name)
        if not known or name in self._unloaded:
            self._table.pop(name, None)
            self._loaded.pop(name, None)
            return
        loaded, before = self._loaded.get(name, {}), self._table.get(name, {})
        targets = {"": self._snapshot.default(name).number, **self._snapshot.aliases[name]}
        table: dict[str, LoadedModel] = {}
        for selector, number in targets.items():
            model = loaded.get(number) or before.get(selector)
            if model is not None and model.number in known:
                table[selector] = model
        keep = {model.number for model in table.values()} | {n for n in loaded if (name, n) in self._asked}
        kept = {number: model for number, model in loaded.items() if number in keep and number in known}
        for number, model in kept.items():
            model.aliases = self._snapshot.aliases_of(model.version)
            table[str(number)] = model
        self._loaded[name] = kept
        self._table[name] = table
        if name in self._pins:
            tables = (self._table.get(pin, {}) for pin in self._pins)
            self.engine.memory.pin({model.resident for selectors in tables for model in selectors.values()})

    def _evict(self, key: ResidentKey) -> None:
        """Forget every model of a backbone that has to leave; requests that hold one are still answered by it."""
        with self._lock:
            gone = [m for numbers in self._loaded.values() for m in numbers.values() if m.resident == key]
            # A selector whose new version could not load may still name one that nothing else does.
            gone += [m for table in self._table.values() for m in table.values() if m.resident == key]
            for name in {model.name for model in gone}:
                self._loaded[name] = {n: m for n, m in self._loaded[name].items() if m.resident != key}
                self._table[name] = {s: m for s, m in self._table[name].items() if m.resident != key}
            self._dormant |= {(model.name, model.number) for model in gone}
        models = {(model.name, model.number) for model in gone}
        logger.info("evicted backbone %s with %d models", key.backbone[:19], len(models))

    def _row(self, version: Version, tenant: str) -> IndexRow:
        # Caller holds the lock.
        state: State = "READY"
        reason = ""
        if version.name in self._unloaded:
            state, reason = "UNAVAILABLE", "unloaded; RepositoryModelLoad brings it back"
        elif version.number not in self._loaded.get(version.name, {}):
            state, reason = self._loader.state(version)
            if state != "LOADING" and (version.name, version.number) in self._dormant:
                reason = "not resident for want of memory; the next request for it loads it"
        if refused := self.licences.trouble(version, tenant):
            state, reason = "UNAVAILABLE", refused
        return IndexRow(version.name, version.number, state, reason, self._snapshot.aliases_of(version))

    def __repr__(self) -> str:
        return f"Repository(ready={self.ready}, loaded={[str(m.version) for m in self.loaded()]})"
