"""What a server does about one version, for every use that the policy tells apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING

from headstock.errors import LicenceRefused

if TYPE_CHECKING:
    from headstock.licences.judge import Duty
    from headstock.licences.policy import Policy

_ORDER = {"allow": 0, "unknown": 1, "deny": 2}


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a server does about one version in one use, and why."""

    value: str
    """`allow`, `unknown` or `deny`."""
    reason: str
    proof_id: str
    refusal: LicenceRefused | None = None
    """What every request for it gets; None if it may be served."""
    warning: str = ""
    """Goes with every answer, printable ASCII; empty if there is nothing to warn of."""
    duties: tuple[Duty, ...] = ()
    """What the use obliges to."""
    display: tuple[str, ...] = ()
    """Words that have to be shown where it is used."""
    concluded: str = ""
    """What somebody decided that its parts are under; `NOASSERTION` unless all of them were decided about."""
    unsigned: str = ""
    """Why no key of the policy signed it; empty if one did, or no signature is asked for."""
    until: date | None = None
    """Last day on which it holds, because a licence ends then; None if none does."""

    def check(self) -> None:
        """Raise the refusal, if there is one."""
        if self.refusal is not None:
            # A copy: one object raised for every request would collect their tracebacks.
            raise LicenceRefused(self.refusal.message, proof_id=self.proof_id, fix=self.refusal.fix)

    @property
    def silent(self) -> bool:
        """True if a request has nothing to be told."""
        return self.refusal is None and not self.warning

    @property
    def strictness(self) -> tuple[bool, int, bool]:
        """Larger is stricter."""
        return (self.refusal is not None, _ORDER[self.value], bool(self.warning))


def stricter(own: Ruling, common: Ruling) -> Ruling:
    """A tenant's own ruling, unless that of callers without a name is stricter: a name that anybody may give.

    The tenant owes what its own use obliges to, whichever of them holds.
    """
    if own.strictness >= common.strictness:
        return own
    duties = tuple(sorted({*own.duties, *common.duties}))
    until = min((day for day in (own.until, common.until) if day is not None), default=None)
    return replace(common, duties=duties, display=tuple(sorted({*own.display, *common.display})), until=until)


@dataclass(frozen=True, slots=True)
class Uses:
    """The uses that a policy tells apart."""

    places: Mapping[str, int] = field(default_factory=dict)
    """Tenant to the place of its use; others have place 0, the policy's own context."""
    policy: Policy | None = None
    """The policy that says so; None before any was read."""

    def known(self, tenant: str) -> str:
        """The tenant if the policy names it, else empty: only so many names lead anywhere."""
        return tenant if tenant in self.places else ""


@dataclass(frozen=True, slots=True)
class Rulings:
    """One version's rulings."""

    uses: Uses
    each: tuple[Ruling, ...]
    """By the place of the use."""

    def of(self, tenant: str = "") -> Ruling:
        """The ruling for a tenant's use. Two look-ups, whatever the number of tenants."""
        return self.each[self.uses.places.get(tenant, 0)]

    @property
    def silent(self) -> bool:
        """True if no use of it has anything to be told."""
        return all(ruling.silent for ruling in self.each)

    @property
    def mildest(self) -> Ruling:
        """The ruling of whoever may do most: what it refuses, nobody may do."""
        return min(self.each, key=lambda ruling: ruling.strictness)
