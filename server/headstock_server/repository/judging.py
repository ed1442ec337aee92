"""Rulings on many versions from one snapshot: a verdict for each use, and what the policy's modes make of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from headstock.catalogue import Catalogue
from headstock.digest import Digest
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


@dataclass(frozen=True, slots=True)
class _Use:
    """One use with its verdicts."""

    context: Context
    trusted: bool
    found: Mapping[Digest, Verdict]

    def named(self, common: Context) -> tuple[str, str]:
        """How it differs from the policy's own, in words and as options of `headstock licence why`."""
        own = {key: value for key, value in asdict(self.context).items() if value != asdict(common)[key]}
        words = str(self.context).partition(" ")[2]
        return (f" {words}", "".join(f" --{key} {value}" for key, value in own.items())) if own else ("", "")


def judged(
    catalogue: Catalogue, query: Any, versions: Collection[Version], policy: Policy, *, enforce: bool
) -> tuple[Uses, dict[tuple[str, int], Rulings]]:
    """The uses that the policy tells apart, and a ruling on each version for each of them.

    Without `enforce`, what would be refused is warned of.
    """
    facts = Facts.read(query)
    subjects = {version.subject for version in versions}
    contexts, places = _told_apart(policy)
    found = {context: judge_many(facts, subjects, context, policy) for context, _ in contexts}
    uses = Uses(places, policy)
    each = [_Use(context, trusted, found[context]) for context, trusted in contexts]
    court = _Court(catalogue, policy, each, Settlements(facts), enforce)
    return uses, {(v.name, v.number): Rulings(uses, court.rule(v)) for v in versions}


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


@dataclass(frozen=True, slots=True)
class _Court:
    """What all rulings of one round have in common."""

    catalogue: Catalogue
    policy: Policy
    uses: Sequence[_Use]
    settlements: Settlements
    enforce: bool

    def rule(self, version: Version) -> tuple[Ruling, ...]:
        """One ruling for each use; without a trusted name none is milder than that of the first."""
        unsigned = "" if version.kind == "backbone" else self._unsigned(version)
        common, *others = (self._ruling(version, use, unsigned) for use in self.uses)
        trusted = [use.trusted for use in self.uses][1:]
        return (common, *(o if t else stricter(o, common) for o, t in zip(others, trusted, strict=True)))

    def _ruling(self, version: Version, use: _Use, unsigned: str) -> Ruling:
        found = use.found[version.subject]
        ruling = Ruling(
            found.value,
            found.reason,
            found.proof_id,
            duties=found.duties,
            display=obligations.display(found.duties),
            concluded=self.settlements.concluded(version.subject),
            unsigned=unsigned,
        )
        if version.kind == "backbone":
            # It is judged for whoever looks; only models are served.
            return ruling
        words, options = use.named(self.policy.context)
        what = f"serving '{version}'{words}"
        refusals, warnings = self._licences(found, what, f"{version}{options}", version.name)
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

    def _unsigned(self, version: Version) -> str:
        """Why no key of the policy signed the version; empty if one did, or none has to."""
        if self.policy.signature == "off":
            return ""
        from headstock.signing import trouble

        return trouble(self.catalogue, version, self.policy.keys)


def _printable(text: str) -> str:
    """Fit for gRPC metadata, which is printable ASCII."""
    ascii_text = text.encode("ascii", "backslashreplace").decode()
    return "".join(c if " " <= c <= "~" else " " for c in ascii_text)
