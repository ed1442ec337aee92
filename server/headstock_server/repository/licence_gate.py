"""Which versions may be served: verdicts made when models load, and again when the catalogue or the policy changes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from headstock.catalogue import Catalogue
from headstock.catalogue.views import AliasChange
from headstock.errors import FailedPrecondition, HeadstockError, LicenceRefused
from headstock.records import Version

if TYPE_CHECKING:
    from headstock.licences.policy import Policy
    from headstock_server.engine import LoadedModel

logger = logging.getLogger(__name__)

Mode = Literal["enforce", "warn", "off"]

_LONGEST = 500
"""Characters of a warning without its proof id: it travels in metadata."""
_CHANGES = """SELECT
    (SELECT max(id) FROM events WHERE action NOT IN ('promote', 'rollback')),
    (SELECT count(*) FROM evidence),
    (SELECT count(*) FROM edges)"""
"""What all verdicts depend on, the policy apart: moving an alias changes none of them."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a server does about one version, and why."""

    value: str
    """`allow`, `unknown` or `deny`."""
    reason: str
    proof_id: str
    refusal: LicenceRefused | None = None
    """What every request for it gets; None if it may be served."""
    warning: str = ""
    """Goes with every answer, printable ASCII; empty if there is nothing to warn of."""

    def check(self) -> None:
        """Raise the refusal, if there is one."""
        if self.refusal is not None:
            # A copy: one object raised for every request would collect their tracebacks.
            raise LicenceRefused(self.refusal.message, proof_id=self.proof_id, fix=self.refusal.fix)


Rulings: TypeAlias = dict[tuple[str, int], Ruling]
"""By name and version number."""


class LicenceGate:
    """Rulings by version. One thread refreshes, any thread reads. Asks the catalogue and `policy.toml`, never a hub."""

    def __init__(self, catalogue: Catalogue, mode: Mode = "enforce") -> None:
        """`enforce` does what the policy's modes say, `warn` turns refusals into warnings, `off` asks nothing."""
        self.mode = mode
        self._catalogue = catalogue
        self._policy_file = catalogue.settings.home / "policy.toml"
        self._policy_seen: object = None
        self._seen: object = None
        # Held while judging, so that of two that judge at once the one with the older snapshot cannot come last.
        self._lock = threading.Lock()
        # Replaced, never changed, so reading needs no lock.
        self._rulings: Rulings = {}
        self._failed = ""

    def check_policy(self) -> None:
        """Raise `InvalidInput` for a policy file that makes no sense."""
        if self.mode != "off":
            from headstock.licences.policy import Policy

            Policy.load(self._catalogue.settings)

    def is_stale(self) -> bool:
        """True if the policy file is not what the last refresh saw, or it failed. One `stat`."""
        return self.mode != "off" and (bool(self._failed) or _state_of(self._policy_file) != self._policy_seen)

    def refresh(self, versions: Iterable[Version]) -> None:
        """Judge the versions on one snapshot, if anything that verdicts depend on has changed.

        If that fails (a policy file that cannot be read), what is judged stays so, and what is new is refused.
        """
        if self.mode == "off":
            return
        wanted = {(v.name, v.number): v for v in versions}
        with self._lock:
            self._policy_seen = _state_of(self._policy_file)
            try:
                with self._catalogue.snapshot() as query:
                    seen = (self._policy_seen, *next(iter(query(_CHANGES))))
                    if seen != self._seen or not wanted.keys() <= self._rulings.keys():
                        rulings = self._judge(query, wanted.values())
                        _tell(rulings, self._rulings)
                        self._rulings, self._seen = rulings, seen
                self._failed = ""
            except HeadstockError as error:
                if self._failed != error.message:
                    logger.error("licence verdicts cannot be made, those made before stay: %s", error)
                self._failed = error.message

    def ruling(self, version: Version) -> Ruling | None:
        """The ruling on a version; None if nothing is asked or it was not judged yet. A dict look-up."""
        return self._rulings.get((version.name, version.number))

    def stamp(self, model: LoadedModel) -> None:
        """Put on a loaded model what its requests have to know."""
        ruling = self.ruling(model.version)
        if ruling is not None:
            model.caution = ruling if ruling.refusal is not None or ruling.warning else None

    def trouble(self, version: Version) -> str:
        """Why a version is not served; empty if it is."""
        ruling = self.ruling(version)
        if ruling is None:
            return f"it has no licence verdict: {self._failed}" if self._failed else ""
        return "" if ruling.refusal is None else str(ruling.refusal)

    def check(self, version: Version) -> None:
        """Raise `LicenceRefused` for what may not be served, `FailedPrecondition` for what cannot be judged.

        Judges a version that came after the last refresh, so it blocks.
        """
        if self.mode == "off":
            return
        (self.ruling(version) or self._judge_one(version)).check()

    def promote(self, version: Version, alias: str, reason: str) -> AliasChange:
        """Point an alias at a version; under `enforce` raises `LicenceRefused` as `headstock promote` does."""
        if self.mode != "enforce":
            return self._catalogue.promote(version.name, version.number, alias, reason=reason)
        from headstock.licences import enforcement

        change, warnings = enforcement.promote(self._catalogue, version, alias, reason=reason)
        for warning in warnings:
            logger.warning("%s", warning)
        return change

    def _judge_one(self, version: Version) -> Ruling:
        with self._lock:
            try:
                with self._catalogue.snapshot() as query:
                    made = self._judge(query, [version])
            except HeadstockError as error:
                raise FailedPrecondition(f"{version} has no licence verdict: {error.message}", fix=error.fix) from error
            self._rulings = {**self._rulings, **made}
        return made[version.name, version.number]

    def _judge(self, query: Any, versions: Collection[Version]) -> Rulings:
        # Here and not above: a server that was told not to ask needs none of it.
        from headstock.licences.composition import judge_many
        from headstock.licences.facts import Facts
        from headstock.licences.policy import Policy

        policy = Policy.load(self._catalogue.settings)
        found = judge_many(Facts.read(query), {v.subject for v in versions}, policy.context, policy)
        return {(v.name, v.number): self._rule(v, found[v.subject], policy) for v in versions}

    def _rule(self, version: Version, found: Any, policy: Policy) -> Ruling:
        from headstock.licences import enforcement

        what = f"serving '{version}'"
        proof, refusal, warning = found.proof_id, None, ""
        if not found.permitted and self.mode == "enforce":
            refusal = enforcement.refusal(found, what, str(version))
        elif found.action != "allow":
            warning = _printable(enforcement.warning(found, what, str(version)))[:_LONGEST] + f"; proof {proof}"
        if refusal is None and (unsigned := self._unsigned(version, policy)):
            if policy.signature == "enforce" and self.mode == "enforce":
                message = f"{what} is refused: the policy requires a signature: {unsigned}"
                refusal = LicenceRefused(
                    message, proof_id=proof, fix=f"headstock sign {version} --key KEY --out FOLDER"
                )
            else:
                said = _printable(f"{what}: no valid signature: {unsigned}")[:_LONGEST]
                warning = f"{warning}; {said}" if warning else said
        return Ruling(found.value, found.reason, proof, refusal, warning)

    def _unsigned(self, version: Version, policy: Policy) -> str:
        """Why no key of the policy signed the version; empty if one did, or none has to."""
        if policy.signature == "off":
            return ""
        from headstock.signing import trouble

        return trouble(self._catalogue, version, policy.keys)


def _printable(text: str) -> str:
    """Fit for gRPC metadata, which is printable ASCII."""
    ascii_text = text.encode("ascii", "backslashreplace").decode()
    return "".join(c if " " <= c <= "~" else " " for c in ascii_text)


def _tell(rulings: Rulings, before: Rulings) -> None:
    """Log what is refused now and was not before."""
    for key, ruling in rulings.items():
        known = before.get(key)
        if ruling.refusal is not None and (known is None or known.refusal is None):
            logger.warning("%s (proof %s)", ruling.refusal.message, ruling.proof_id)


def _state_of(path: Path) -> object:
    try:
        found = path.stat()
    except FileNotFoundError:
        return ()
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)
