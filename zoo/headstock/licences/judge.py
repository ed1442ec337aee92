"""One licence in one situation: allowed, denied or unknown, why, and which duties the use brings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

from headstock.licences.context import Context
from headstock.licences.lineage import OUTPUTS, Scope
from headstock.licences.policy import Policy
from headstock.licences.terms import Flow, LicenceDoc, Restriction
from headstock.licences.values import Value, all_of, rank

_PURPOSE_LIMITS = ("non-commercial", "research-only")
_RESERVED = ("remote-restriction", "latest-version")


@dataclass(frozen=True, slots=True)
class Situation:
    """How a licensed artefact is part of what is used, apart from the context."""

    scope: Scope = "all"
    via: tuple[str, ...] = ()
    modified: bool | None = False
    modality: str = ""
    used: bool = False
    """True for a teacher that we ran ourselves: apart from what passes to its student, that use must be allowed."""

    def to_json(self) -> dict[str, Any]:
        """What differs from the usual, as JSON values; `from_json` reads it out of a proof's node."""
        stated: dict[str, Any] = {}
        if self.scope != "all":
            stated["scope"] = self.scope
        if self.via:
            stated["via"] = list(self.via)
        if self.modified is not False:
            stated["modified"] = self.modified
        if self.modality:
            stated["modality"] = self.modality
        if self.used:
            stated["used"] = True
        return stated

    @classmethod
    def from_json(cls, node: Mapping[str, Any]) -> Situation:
        """Inverse of `to_json`; other keys are passed over."""
        via, modified = tuple(node.get("via", ())), node.get("modified", False)
        return cls(node.get("scope", "all"), via, modified, node.get("modality", ""), bool(node.get("used")))


@dataclass(frozen=True, slots=True, order=True)
class Duty:
    """Something that the use obliges to."""

    duty: str
    """A word of `terms.Duty`, or `remote-restriction` and `latest-version` for rights that the licensor reserves."""
    licence: str
    payload: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one licence says about one situation."""

    value: Value
    why: tuple[str, ...] = ()
    """Reasons of every value below `allow`."""
    duties: tuple[Duty, ...] = ()


class Judge:
    """Judges licences under one policy in one context; outcomes are remembered."""

    def __init__(self, policy: Policy, context: Context, today: date | None = None) -> None:
        """`today` decides whether a grant with an end still holds; by default the day it is, UTC."""
        self.policy = policy
        self.context = context
        self.today = today or datetime.now(UTC).date()
        self.judge = lru_cache(maxsize=65536)(self._judge)

    def _judge(self, doc: LicenceDoc, situation: Situation) -> Outcome:
        if situation.scope == "note":
            return Outcome("allow")
        inside = self._inside(doc, situation)
        if not situation.via:
            return inside
        forbidding = [relation for relation in situation.via if doc.flow.get(relation) == "forbidden"]
        if forbidding:
            return Outcome("deny", (f"{doc.id} forbids {forbidding[0]}",))
        # What does not pass along one of the relations does not arrive.
        passed = max(
            (self._passing(doc, inside, r) for r in situation.via),
            key=lambda o: (rank(o.value), -len(o.duties)),
        )
        return _both(passed, self._own_use(doc, situation)) if situation.used else passed

    def _own_use(self, doc: LicenceDoc, situation: Situation) -> Outcome:
        """The outcome of having run it to train something else, for the same purpose."""
        training = Judge(self.policy, replace(self.context, act="train", audience="self"), self.today)
        used = training._inside(doc, replace(situation, via=(), modified=False, used=False))
        return replace(used, why=tuple(f"{why} (our own use of it to train)" for why in used.why))

    # ------------------------------------------------------------------------------------------ terms
    def _inside(self, doc: LicenceDoc, situation: Situation) -> Outcome:
        """The outcome where the work's own terms apply in full (as far as the scope goes)."""
        found = [self._restriction(doc, r, situation) for r in doc.restrictions if _in_scope(r.kind, situation.scope)]
        values, why = [v for v, _ in found], [w for v, w in found if v != "allow"]
        ended = doc.lifecycle.expires
        if ended and self.today > date.fromisoformat(ended) and situation.scope in ("all", "nc"):
            values.append("deny")
            why.append(f"the grant of {doc.id} ended on {ended}")
        if not doc.complete and situation.scope in ("all", "nc"):
            values.append("unknown")
            why.append(f"not every term of {doc.id} has been read")
        return Outcome(all_of(values), tuple(why), tuple(self._duties(doc, situation)))

    def _restriction(self, doc: LicenceDoc, limit: Restriction, situation: Situation) -> tuple[Value, str]:
        if limit.modality and situation.modality and limit.modality != situation.modality:
            return "allow", ""
        value, why = self._limit(limit, situation)
        if limit.modality and not situation.modality and value == "deny":
            value, why = "unknown", f"{why}, and it is not known whether this is a {limit.modality} model"
        return value, f"{doc.id}: {why}"

    def _limit(self, limit: Restriction, situation: Situation) -> tuple[Value, str]:
        context, stances = self.context, self.policy.stances
        match limit.kind:
            case "non-commercial" | "research-only":
                return self._purpose(limit.kind)
            case "field-of-use" if stances["fields_of_use"] == "bind" and context.sector in limit.values:
                return "deny", f"use in the field {context.sector!r} is not allowed"
            case "scale":
                return self._scale(int(limit.values[0]))
            case "revenue" if context.purpose != "research":
                # A context says nothing of revenue, and a million is soon made.
                return (
                    "unknown",
                    f"above {limit.values[0]} US dollars a year, which nobody stated, it needs another licence",
                )
            case "territory":
                return self._territory(limit.values)
            case "no-derivatives" if context.act == "distribute":
                return _if_modified(situation, "changed works may not be shared")
            case "no-adaptation":
                return _if_modified(situation, "it may not be changed, not even in private")
            case "no-sharing" if context.act == "distribute":
                return "deny", "it may not be passed on"
        return "allow", ""

    def _purpose(self, kind: str) -> tuple[Value, str]:
        purpose, stance = self.context.purpose, self.policy.stances["internal_use"]
        if purpose == "research":
            return "allow", ""
        if purpose == "commercial" or kind == "research-only" or stance == "commercial":
            return "deny", f"{kind}, and the purpose is {purpose}"
        if stance == "non-commercial":
            return "allow", ""
        return "unknown", f"{kind}, and whether internal use is commercial is contested (stance internal_use)"

    def _scale(self, limit: int) -> tuple[Value, str]:
        scale = self.context.scale
        if scale is None and self.policy.stances["unstated_scale"] == "small":
            return "allow", ""
        if scale is None:
            return (
                "unknown",
                f"above {limit} monthly users it needs another licence, and their number is not stated",
            )
        return ("allow", "") if scale <= limit else ("deny", f"above {limit} monthly users it needs another licence")

    def _territory(self, areas: tuple[str, ...]) -> tuple[Value, str]:
        within = [self.context.within(area) for area in areas]
        if True in within:
            return "deny", f"not granted to those established in {', '.join(areas)}"
        if None in within:
            return (
                "unknown",
                f"not granted in {', '.join(areas)}, and where the operator is established is not stated",
            )
        return "allow", ""

    # ------------------------------------------------------------------------------------------ duties
    def _duties(self, doc: LicenceDoc, situation: Situation) -> Iterator[Duty]:
        triggers = self.context.triggers(situation.modified)
        for condition in doc.conditions:
            wanted = situation.scope == "all" or (situation.scope == "attribute" and condition.duty == "attribution")
            # A duty that may be owed is listed: fulfilling one too many harms nobody.
            if wanted and any(triggers[trigger] is not False for trigger in condition.on):
                yield Duty(condition.duty, doc.id, condition.payload)
        for limit in doc.restrictions:
            if limit.kind in _RESERVED and situation.scope == "all":
                yield Duty(limit.kind, doc.id)

    def _passing(self, doc: LicenceDoc, inside: Outcome, relation: str) -> Outcome:
        """What passes along a relation that carries no weights."""
        flow: Flow = doc.flow.get(relation, "undefined")
        if flow in ("naming", "limited"):
            passing = {(c.duty, c.payload) for c in doc.conditions if c.passes or c.duty == "name-prefix"}
            duties = tuple(d for d in inside.duties if (d.duty, d.payload) in passing)
            if flow == "naming":
                return Outcome("allow", (), duties)
            why = f"{doc.id} may not be used to improve {doc.students}, and whether this is one is not known"
            return Outcome("unknown", (why,), duties)
        stance = self.policy.stances["heads" if relation in ("head_on", "adapter_of") else "silence"]
        if flow == "own" or (flow == "undefined" and stance == "own"):
            return Outcome("allow")
        if flow == "inherits" or stance == "inherit" or inside.value == "allow":
            return inside
        contested = f"whether the terms of {doc.id} pass along {relation} is contested"
        return Outcome("unknown", (*inside.why, contested), inside.duties)


def _both(first: Outcome, second: Outcome) -> Outcome:
    stricter, other = sorted((second, first), key=lambda outcome: rank(outcome.value))
    why = tuple(dict.fromkeys((*stricter.why, *other.why)))
    duties = tuple(sorted({*first.duties, *second.duties}))
    return Outcome(all_of([first.value, second.value]), why, duties)


def _in_scope(kind: str, scope: Scope) -> bool:
    return scope == "all" or (scope == "nc" and kind in _PURPOSE_LIMITS)


def _if_modified(situation: Situation, why: str) -> tuple[Value, str]:
    if situation.modified is None:
        stance = "silence" if OUTPUTS & set(situation.via) else "heads"
        return "unknown", f"{why}, and whether this counts as changed is contested (stance {stance})"
    return ("deny", why) if situation.modified else ("allow", "")
