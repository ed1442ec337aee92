"""Which versions may be served: judged when they load, and again when catalogue or policy change or a licence ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from headstock.catalogue import Catalogue
from headstock.catalogue.views import AliasChange
from headstock.errors import FailedPrecondition, HeadstockError, NotFound
from headstock.records import Version
from headstock_server.repository.policy_files import PolicyFiles
from headstock_server.repository.ruling import Ruling, Rulings, Uses

if TYPE_CHECKING:
    from headstock.licences.policy import Policy
    from headstock_server.engine import LoadedModel

logger = logging.getLogger(__name__)

Mode = Literal["enforce", "warn", "off"]
Table: TypeAlias = dict[tuple[str, int], Rulings]
"""By name and version number."""

CHANGES = """SELECT
    (SELECT max(id) FROM events WHERE action NOT IN ('promote', 'rollback')),
    (SELECT count(*) FROM evidence),
    (SELECT count(*) FROM edges)"""
"""What all verdicts depend on, files apart: moving an alias changes none of them."""


class LicenceGate:
    """Rulings by version. One thread refreshes, any thread reads. Asks no hub: the catalogue and HEADSTOCK_HOME."""

    def __init__(self, catalogue: Catalogue, mode: Mode = "enforce") -> None:
        """`enforce` does what the policy's modes say, `warn` turns refusals into warnings, `off` asks nothing."""
        self.mode = mode
        self.today: Callable[[], date] = today_utc
        """The day that it is, which decides whether a licence has ended."""
        self.uses = Uses()
        """The uses that the last policy told apart."""
        self._catalogue = catalogue
        self._files = PolicyFiles(catalogue.settings.home)
        self._files_seen: object = None
        self._seen: object = None
        # Held while judging, so that of two that judge at once the one with the older snapshot cannot come last.
        self._lock = threading.Lock()
        # Replaced, never changed, so reading needs no lock.
        self._table: Table = {}
        self._failed = ""
        self._judged_on = date.min
        # Last day of the first licence to end among those of what is judged.
        self._until: date | None = None

    def check_policy(self) -> None:
        """Raise `InvalidInput` for a policy file that makes no sense."""
        if self.mode != "off":
            self._read_policy()

    def is_stale(self) -> bool:
        """True if the policy, its records or keys are not what the last refresh saw, a licence has ended since then, or
        it failed. No file is read.
        """
        if self.mode == "off":
            return False
        return bool(self._failed) or self._outdated() or self._files.state() != self._files_seen

    def _outdated(self) -> bool:
        """True if the last day of a licence has passed since it was judged, or a clock that was ahead was set back."""
        today = self.today()
        return today < self._judged_on or (self._until is not None and today > self._until)

    def refresh(self, versions: Iterable[Version]) -> None:
        """Judge the versions on one snapshot, if anything that verdicts depend on has changed.

        If that fails (a policy file that cannot be read), what is judged stays so, and what is new is refused.
        """
        if self.mode == "off":
            return
        wanted = {(v.name, v.number): v for v in versions}
        with self._lock:
            # Before anything is read: what changes while it is read is seen at the next look.
            terms = self._files.terms()
            self._files_seen = (terms, self._files.signers())
            try:
                policy = self._read_policy()
                self._files.keys = policy.keys if policy.signature != "off" else ()
                self._files_seen = (terms, self._files.signers())
                with self._catalogue.snapshot() as query:
                    seen = (self._files_seen, *next(iter(query(CHANGES))))
                    if seen != self._seen or self._outdated() or not wanted.keys() <= self._table.keys():
                        day = self.today()
                        table = self._judge(query, wanted.values(), policy, day)
                        _tell(table, self._table)
                        self._table, self._seen = table, seen
                        self._judged_on, self._until = day, _first_end(table)
                self._failed = ""
            except HeadstockError as error:
                if self._failed != error.message:
                    logger.error("licence verdicts cannot be made, those made before stay: %s", error)
                self._failed = error.message

    def ruling(self, version: Version, tenant: str = "") -> Ruling | None:
        """The ruling on a version; None if nothing is asked or it was not judged yet. Dict look-ups."""
        return self.ruling_of(version.name, version.number, tenant)

    def ruling_of(self, name: str, number: int, tenant: str = "") -> Ruling | None:
        """The same by name and number."""
        found = self._table.get((name, number))
        return None if found is None else found.of(tenant)

    def stamp(self, model: LoadedModel) -> None:
        """Put on a loaded model what its requests have to know."""
        found = self._table.get((model.name, model.number))
        if found is not None:
            model.caution = None if found.silent else found

    def trouble(self, version: Version, tenant: str = "") -> str:
        """Why a version is not served; empty if it is."""
        ruling = self.ruling(version, tenant)
        if ruling is None:
            return f"it has no licence verdict: {self._failed}" if self._failed else ""
        return "" if ruling.refusal is None else str(ruling.refusal)

    def check(self, version: Version, tenant: str = "") -> None:
        """Raise `LicenceRefused` for what may not be served, `FailedPrecondition` for what cannot be judged.

        Judges a version that came after the last refresh, so it blocks.
        """
        if self.mode != "off":
            self._rulings(version).of(tenant).check()

    def admit(self, version: Version) -> None:
        """The same for what nobody may be served: it is not worth its memory."""
        if self.mode != "off":
            self._rulings(version).mildest.check()

    def promote(self, version: Version, alias: str, reason: str) -> AliasChange:
        """Point an alias at a version; under `enforce` raises `LicenceRefused` as `headstock promote` does."""
        if self.mode != "enforce":
            return self._catalogue.promote(version.name, version.number, alias, reason=reason)
        from headstock.licences import enforcement

        change, warnings = enforcement.promote(self._catalogue, version, alias, reason=reason)
        for warning in warnings:
            logger.warning("%s", warning)
        return change

    def _rulings(self, version: Version) -> Rulings:
        return self._table.get((version.name, version.number)) or self._judge_one(version)

    def _judge_one(self, version: Version) -> Rulings:
        with self._lock:
            try:
                policy = self._read_policy()
                with self._catalogue.snapshot() as query:
                    made = self._judge(query, [version], policy, self.today())
            except HeadstockError as error:
                raise FailedPrecondition(f"{version} has no licence verdict: {error.message}", fix=error.fix) from error
            rulings = made.get((version.name, version.number))
            if rulings is None:
                raise NotFound(f"{version} was removed", fix="headstock list --all")
            self._table = {**self._table, **made}
            self._until = min((day for day in (self._until, _first_end(made)) if day is not None), default=None)
        return rulings

    def _judge(self, query: Any, versions: Collection[Version], policy: Policy, today: date) -> Table:
        # Here and not above: a server that was told not to ask needs none of it.
        from headstock_server.repository.judging import judged

        self.uses, made = judged(self._catalogue, query, versions, policy, today, enforce=self.mode == "enforce")
        return made

    def _read_policy(self) -> Policy:
        from headstock.licences.policy import Policy

        return Policy.load(self._catalogue.settings)


def today_utc() -> date:
    """The day that it is."""
    return datetime.now(UTC).date()


def _first_end(table: Table) -> date | None:
    """The first last day of a licence that some ruling rests on."""
    return min((r.until for rulings in table.values() for r in rulings.each if r.until is not None), default=None)


def _tell(table: Table, before: Table) -> None:
    """Log what is refused now and was not before."""
    for key, rulings in table.items():
        known = {r.refusal.message for r in before[key].each if r.refusal is not None} if key in before else set()
        for ruling in dict.fromkeys(rulings.each):
            if ruling.refusal is not None and ruling.refusal.message not in known:
                logger.warning("%s (proof %s)", ruling.refusal.message, ruling.proof_id)
