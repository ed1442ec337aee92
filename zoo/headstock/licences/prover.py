"""The prover: one step per artefact and way it is part of the whole, put together to a verdict's proof."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date

from headstock.digest import Digest
from headstock.licences import library
from headstock.licences.aliases import Resolution, base
from headstock.licences.context import Context
from headstock.licences.expression import Expression, parse
from headstock.licences.facts import Facts
from headstock.licences.judge import Duty, Judge, Situation
from headstock.licences.lineage import BUILT_BY, COPIES, OUTPUTS, Reach, Step, walk
from headstock.licences.policy import Policy
from headstock.licences.proof import FORMAT, Node, combined, fact, leaves, outcome_of, reasons, sharing_node
from headstock.licences.statements import Declared, Finding, declared
from headstock.licences.values import Value, all_of, any_of


@dataclass(frozen=True, slots=True)
class Made:
    """A proof and what it comes to."""

    value: Value
    why: tuple[str, ...]
    """Reasons of every step below `allow`, the strictest first."""
    proof: Node
    duties: tuple[Duty, ...]
    findings: tuple[Finding, ...]
    until: date | None = None
    """The first last day, still to come, of a grant that it rests on: the day after, it has to be made again."""


class Prover:
    """Proves verdicts from one snapshot of facts in one context under one policy."""

    def __init__(self, facts: Facts, context: Context, policy: Policy, today: date | None = None) -> None:
        """`today` as `Judge` takes it."""
        self._facts = facts
        self._context = context
        self._policy = policy
        self._judge = Judge(policy, context, today)
        self._use = {k: v for k, v in asdict(context).items() if v is not None}
        self._declared: dict[str, Declared] = {}
        self._nodes: dict[Reach, tuple[Node, frozenset[Duty]]] = {}
        self._duties: set[Duty] = set()

    def prove(self, subject: Digest) -> Made:
        """The proof for one artefact."""
        self._duties = set()
        steps = walk(self._facts, subject, self._policy)
        nodes = [self._step(step) for step in steps]
        share = self._sharing(steps)
        nodes += [share] if share else []
        code = self._code(steps)
        value = all_of(node["value"] for node in nodes)
        findings = self._findings(steps)
        below = [node for level in ("deny", "unknown") for node in nodes if node["value"] == level]
        why = [f"{node['about']}: {reason}" for node in below for reason in reasons(node)]
        whole: Node = {
            "format": FORMAT,
            "subject": subject,
            "context": self._use,
            "policy": self._policy.as_json,
            "records": self._records([*nodes, *code]),
            "op": "all",
            "of": nodes,
            "value": value,
        }
        if code:
            whole["code"] = code
        docs = [doc for licence in whole["records"] if (doc := library.find(licence))]
        last_days = [date.fromisoformat(doc.lifecycle.expires) for doc in docs if doc.lifecycle.expires]
        if last_days:
            # Only where the day matters: other proofs are the same tomorrow.
            whole["date"] = self._judge.today.isoformat()
        until = min((day for day in last_days if day >= self._judge.today), default=None)
        return Made(value, tuple(dict.fromkeys(why)), whole, tuple(sorted(self._duties)), findings, until)

    def value(self, subject: Digest) -> Value:
        """What the proof would come to, without writing it down: what listings of thousands ask for."""
        steps = walk(self._facts, subject, self._policy)
        share = self._sharing(steps)
        found = [self._judged(step.reach)[0]["value"] for step in steps]
        return all_of([*found, share["value"]] if share else found)

    # ------------------------------------------------------------------------------------------ steps
    def _step(self, step: Step) -> Node:
        reach = step.reach
        node, duties = self._judged(reach)
        self._duties |= duties
        return {
            "about": self._facts.label(reach.digest),
            "digest": reach.digest,
            "relation": step.relation,
            "child": step.child,
            **node,
        }

    def _code(self, steps: Iterable[Step]) -> list[Node]:
        """What is known of the code that made the parts, each plugin for itself.

        It stands beside the verdict and is no part of it: code is not in the weights, and no server runs a plugin.
        """
        made: dict[str, list[str]] = {}
        for digest in dict.fromkeys(step.reach.digest for step in steps):
            for relation, parent in self._facts.edges.get(digest, ()):
                if relation == BUILT_BY:
                    made.setdefault(parent, []).append(digest)
        plugins = sorted(made, key=lambda digest: (self._facts.label(digest), digest))
        return [
            {
                "about": self._facts.label(plugin),
                "digest": plugin,
                "relation": BUILT_BY,
                "child": min(made[plugin]),
                **self._judged(Reach(plugin))[0],
            }
            for plugin in plugins
        ]

    def _judged(self, reach: Reach) -> tuple[Node, frozenset[Duty]]:
        """The node and duties of one reach; a backbone is judged once for all the heads on it."""
        known = self._nodes.get(reach)
        if known is None:
            outer, self._duties = self._duties, set()
            modality = self._facts.modality(reach.digest)
            situation = Situation(reach.scope, reach.via, reach.modified, modality, reach.used)
            known = (self._artefact(reach, situation), frozenset(self._duties))
            self._nodes[reach], self._duties = known, outer
        return known

    def _artefact(self, reach: Reach, situation: Situation) -> Node:
        kind, digest = self._facts.kinds[reach.digest], reach.digest
        decision = self._facts.conclusions.get(digest)
        if decision is not None:
            node = self._expression(parse(decision.expression), situation)
            return {**node, "concluded": f"by {decision.actor} at {decision.at}: {decision.reason}"}
        if reach.origin and not self._facts.own_statements(digest):
            return fact("allow", "where the bytes came from: what it says is kept with what was converted from it")
        readings = self._read(digest).readings
        if readings:
            nodes = [self._reading(reading, situation) for reading in readings]
            node = nodes[0] if len(nodes) == 1 else combined("agree", nodes)
            covered = sorted({s.scope for s in self._facts.statements_about(digest) if s.scope})
            return {**node, "covers": covered} if covered else node
        if situation.scope in ("note", "attribute"):
            return fact("allow", "no source states its licence; only a remark is wanted of it")
        if self._facts.made_here(digest):
            return fact("allow", "made here: carries no terms of its own")
        if kind == "source" and self._policy.stances["unstated_parent"] == "trust-child":
            return fact(
                "allow",
                "its licence is not known; the policy trusts the child's own (stance unstated_parent)",
            )
        return fact("unknown", "no source states a licence")

    def _reading(self, reading: Resolution, situation: Situation) -> Node:
        if reading.expression is not None:
            return self._expression(reading.expression, situation)
        refused = bool(reading.candidates) and set(reading.candidates) <= set(self._policy.refused)
        if reading.kind == "ambiguous" and (reading.closed or refused):
            return combined("agree", [self._licence(candidate, situation) for candidate in reading.candidates])
        value: Value = "allow" if situation.scope in ("note", "attribute") else "unknown"
        if reading.living:
            # Every edition that is known is weighed; one that is not may be stricter than all of them.
            editions = combined("agree", [self._licence(candidate, situation) for candidate in reading.candidates])
            return combined("all", [editions, fact(value, reading.why)])
        return fact(value, reading.why or f"one of {', '.join(reading.candidates)}, and which one is not said")

    def _expression(self, expression: Expression, situation: Situation) -> Node:
        if expression.op == "licence":
            return self._licence(expression.licence, situation)
        before = set(self._duties)
        nodes, duties = [], []
        for part in expression.parts:
            self._duties = set()
            nodes.append(self._expression(part, situation))
            duties.append(self._duties)
        node = combined("all" if expression.op == "and" else "any", nodes)
        # Of alternatives the first of the best is chosen, and only its duties are owed.
        chosen = duties if expression.op == "and" else [duties[[n["value"] for n in nodes].index(node["value"])]]
        self._duties = before.union(*chosen)
        return node

    def _licence(self, licence: str, situation: Situation) -> Node:
        outcome = outcome_of(self._judge, licence, situation)
        self._duties |= set(outcome.duties)
        node: Node = {"op": "terms", "licence": licence, "value": outcome.value}
        node |= situation.to_json()
        return {**node, "why": list(outcome.why)} if outcome.why else node

    # ------------------------------------------------------------------------------------------ the whole
    def _sharing(self, steps: Sequence[Step]) -> Node | None:
        """Whether one licence can be found for the whole: only sharing it asks for one."""
        if self._context.act != "distribute":
            return None
        reached = [(s.reach, self._arrival(s.reach)) for s in steps if s.reach.scope == "all"]
        own = {steps[0].reach.digest}
        certain = {r.digest for r, value in reached if value == "allow" and (r.modified is True or r.via)}
        open_ = [r for r, value in reached if value == "unknown" or (r.modified is None and not r.via)]
        nodes = []
        if certain - own:
            nodes.append(sharing_node(self._terms(own | certain)))
        if {r.digest for r in open_} - own - certain:
            stance = "silence" if all(OUTPUTS & {*r.via} for r in open_) else "heads"
            nodes.append(sharing_node(self._terms(own | certain | {r.digest for r in open_}), stance))
        nodes = [node for node in nodes if node["of_licences"]]
        return {"about": "the whole", **combined("all", nodes)} if nodes else None

    def _terms(self, digests: Iterable[str]) -> list[str]:
        return sorted({str(e) for digest in digests for e in self._settled(digest)})

    def _arrival(self, reach: Reach) -> Value:
        """Whether the artefact's terms bind the whole: always where it is inside."""
        from headstock.licences.whole import arrives

        terms = self._settled(reach.digest) if reach.via else []
        return any_of(arrives(one, reach.via, self._policy) for one in terms) if terms else "allow"

    def _settled(self, digest: str) -> list[Expression]:
        """What the artefact is under: the decision, or everything that was declared or may have been meant."""
        decision = self._facts.conclusions.get(digest)
        if decision is not None:
            return [parse(decision.expression)]
        readings = self._read(digest).readings
        definite = [r.expression for r in readings if r.expression is not None]
        return definite + [parse(name) for r in readings if r.closed or r.living for name in r.candidates]

    def _findings(self, steps: Sequence[Step]) -> tuple[Finding, ...]:
        from headstock.licences.relicensing import relicensed

        found: dict[tuple[str, str], Finding] = {}
        for step in steps:
            if step.reach.origin and not self._facts.own_statements(step.reach.digest):
                continue
            digest, label = step.reach.digest, self._facts.label(step.reach.digest)
            settled = digest in self._facts.conclusions
            remarks = [f for f in self._read(digest).findings if step.reach.scope != "note"]
            if step.reach.scope == "note":
                remarks += self._noted(step)
            elif step.relation in COPIES:
                remarks += relicensed(self._settled(step.child), self._settled(digest))
            for remark in remarks:
                message = f"{label}: {remark.message}"
                found.setdefault((remark.kind, message), Finding(remark.kind, message, remark.warn and not settled))
        return tuple(found[key] for key in sorted(found))

    def _noted(self, step: Step) -> list[Finding]:
        """Training data whose terms would not allow this use, if they reached the weights."""
        node, _ = self._judged(Reach(step.reach.digest, "nc"))
        if node["value"] == "allow":
            return []
        stated = bool(self._read(step.reach.digest).readings) or step.reach.digest in self._facts.conclusions
        said = "; ".join(reasons(node))
        return [Finding("training-data", f"trained on it, and if its terms bind weights: {said}", warn=stated)]

    def _read(self, digest: str) -> Declared:
        if digest not in self._declared:
            self._declared[digest] = declared(self._facts.statements_about(digest))
        return self._declared[digest]

    def _records(self, nodes: Iterable[Node]) -> dict[str, str]:
        ids = sorted({base(leaf["licence"]) for node in nodes for leaf in leaves(node)})
        return {licence: doc.digest for licence in ids if (doc := library.find(licence)) is not None}
