"""The verdict on a composition in a use context, with a proof of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from headstock.digest import Digest, digest_json
from headstock.licences.context import Context
from headstock.licences.facts import Facts
from headstock.licences.judge import Duty
from headstock.licences.policy import Action, Policy
from headstock.licences.prover import Prover
from headstock.licences.statements import Finding
from headstock.licences.values import Value


@dataclass(frozen=True)
class Verdict:
    """What the licences of a composition say about one use of it."""

    value: Value
    action: Action
    """What the policy's modes make of it: go on, go on and warn, refuse."""
    reason: str
    """One line: the strictest reason, or what to know although it is allowed."""
    proof: Mapping[str, Any]
    """A JSON object that `proof.replay` recomputes the value from and `proof.tree` prints."""
    duties: tuple[Duty, ...] = ()
    findings: tuple[Finding, ...] = ()
    until: date | None = None
    """Last day on which it holds, because a grant ends then; None if none that it rests on has an end to come."""

    @property
    def permitted(self) -> bool:
        """The one bit that a request path looks at."""
        return self.action != "refuse"

    @property
    def proof_id(self) -> Digest:
        """Digest of the proof: what a refusal names."""
        return digest_json(self.proof)


def judge(facts: Facts, subject: Digest, context: Context, policy: Policy) -> Verdict:
    """The verdict on one artefact with all that it is made of and descends from."""
    return judge_many(facts, [subject], context, policy)[subject]


def judge_many(
    facts: Facts, subjects: Iterable[Digest], context: Context, policy: Policy, today: date | None = None
) -> dict[Digest, Verdict]:
    """Verdicts on several artefacts; what they share is judged once. `today` (UTC) is the day that it is."""
    prover = Prover(facts, context, policy, today)
    found = {}
    for subject in subjects:
        made = prover.prove(subject)
        action = policy.action(made.value, any(finding.warn for finding in made.findings))
        reason = _reason(made.why, made.findings)
        found[subject] = Verdict(made.value, action, reason, made.proof, made.duties, made.findings, made.until)
    return found


def _reason(why: Sequence[str], findings: Sequence[Finding]) -> str:
    if why:
        return f"{why[0]} (and {len(why) - 1} more)" if len(why) > 1 else why[0]
    warned = [finding.message for finding in findings if finding.warn]
    return warned[0] if warned else "every licence in the lineage allows this use"
