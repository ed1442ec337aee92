"""Rulings on many versions from one snapshot: a verdict for each use, and what the policy's modes make of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from shlex import quote
from typing import Any, TypeAlias

from headstock.catalogue import Catalogue
from headstock.errors import LicenceRefused
from headstock.licences import enforcement, obligations
from headstock.licences.composition import Verdict, judge_many
from headstock.licences.context import Context
from headstock.licences.facts import Facts
from headstock.licences.naming import misnamed
from headstock.licences.policy import Policy
from headstock.licences.settlements import Settlements
from headstock.records import Version
from headstock_server.repository.ruling import Ruling, Rulings, Uses, stricter

_LONGEST = 500
"""Characters of a warning without its proof id: it travels in metadata."""


Key: TypeAlias = tuple[str, int]
"""Name and version number."""


def judged(
    catalogue: Catalogue, query: Any, versions: Collection[Version], policy: Policy, today: date, *, enforce: bool
) -> tuple[Uses, dict[Key, Rulings]]:
    """The uses that the policy tells apart, and a ruling on each version for each of them.

    Without a trusted name none is milder than that of the policy's own use. Without `enforce`, what would be refused is
    warned of. `today` decides which licences have ended. Versions that were removed and collected get none.
    """
    facts = Facts.read(query)
    versions = [version for version in versions if version.subject in facts.kinds]
    contexts, places = _told_apart(policy)
    uses = Uses(places, policy)
    subjects = {version.subject for version in versions}
    # By version, not by what it is: a signature names both.
    unsigned = {(v.name, v.number): _unsigned(catalogue, v, policy) for v in versions}
    settlements = Settlements(facts)
    made: list[dict[Key, Ruling]] = []
    for context, trusted in contexts:
        # One use after the other: the proofs of all of them at once would take much memory.
        court = _Court(policy, enforce, unsigned, settlements, *_named(context, policy.context))
        found = judge_many(facts, subjects, context, policy, today)
        own = {(v.name, v.number): court.ruling(v, found[v.subject]) for v in versions}
        made.append(own if trusted else {key: stricter(ruling, made[0][key]) for key, ruling in own.items()})
    return uses, {key: Rulings(uses, tuple(each[key] for each in made)) for key in made[0]}


def _told_apart(policy: Policy) -> tuple[list[tuple[Context, bool]], dict[str, int]]:
    """Each different use once, the policy's own first, with whether its name is trusted; and every tenant's place."""
    uses = [(policy.context, True)]
    places = {}
    for name, tenant in policy.tenants.items():
        use = (tenant.context, tenant.trusted or tenant.context == policy.context)
        if use not in uses:
            uses.append(use)
        places[name] = uses.index(use)
    return uses, places


def _named(context: Context, common: Context) -> tuple[str, str]:
    """How a use differs from the policy's own, in words and as options of `headstock licence why`."""
    usual = asdict(common)
    own = {key: value for key, value in asdict(context).items() if value != usual[key]}
    words = str(context).partition(" ")[2]
    return (f" {words}", "".join(f" --{key} {quote(str(value))}" for key, value in own.items())) if own else ("", "")


def _unsigned(catalogue: Catalogue, version: Version, policy: Policy) -> str:
    """Why no key of the policy signed the version; empty if one did, or none has to."""
    if policy.signature == "off" or version.kind == "backbone":
        return ""
    from headstock.signing import trouble

    return trouble(catalogue, version, policy.keys)


@dataclass(frozen=True, slots=True)
class _Court:
    """What all rulings for one use have in common."""

    policy: Policy
    enforce: bool
    unsigned: Mapping[Key, str]
    settlements: Settlements
    words: str
    options: str

    def ruling(self, version: Version, found: Verdict) -> Ruling:
        """What follows from one verdict."""
        unsigned = self.unsigned[version.name, version.number]
        ruling = Ruling(
            found.value,
            found.reason,
            found.proof_id,
            duties=found.duties,
            display=obligations.display(found.duties),
            concluded=self.settlements.concluded(version.subject),
            unsigned=unsigned,
            until=found.until,
        )
        if version.kind == "backbone" or (found.action == "allow" and not unsigned and not found.duties):
            # A backbone is judged for whoever looks; only models are served.
            return ruling
        what = f"serving '{version}'{self.words}"
        refusals, warnings = self._licences(found, what, f"{version}{self.options}", version.name)
        if unsigned and self.policy.signature == "enforce" and self.enforce:
            message = f"{what} is refused: the policy requires a signature: {unsigned}"
            fix = f"headstock sign {version} --key KEY --out FOLDER"
            refusals.append(LicenceRefused(message, proof_id=found.proof_id, fix=fix))
        elif unsigned:
            warnings.append(_printable(f"{what}: no valid signature: {unsigned}")[:_LONGEST])
        return replace(ruling, refusal=refusals[0] if refusals else None, warning="; ".join(warnings))

    def _licences(self, found: Verdict, what: str, reference: str, name: str) -> tuple[list[LicenceRefused], list[str]]:
        """What the verdict and the duties on names refuse, and what they warn of."""
        refusals, warnings = [], []
        if not found.permitted and self.enforce:
            refusals.append(enforcement.refusal(found, what, reference))
        elif found.action != "allow":
            said = _printable(enforcement.warning(found, what, reference))[:_LONGEST]
            warnings.append(f"{said}; proof {found.proof_id}")
        wrong = None if self.policy.deny == "off" else misnamed(name, found.duties)
        if wrong is not None and self.policy.deny == "enforce" and self.enforce:
            message = f"{what} is refused: {wrong.message}"
            refusals.append(LicenceRefused(message, proof_id=found.proof_id, fix=wrong.fix))
        elif wrong is not None:
            warnings.append(_printable(f"{what}: {wrong.message}")[:_LONGEST])
        return refusals, warnings


def _printable(text: str) -> str:
    """Fit for gRPC metadata, which is printable ASCII."""
    ascii_text = text.encode("ascii", "backslashreplace").decode()
    return "".join(c if " " <= c <= "~" else " " for c in ascii_text)
