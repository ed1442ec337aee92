"""Proofs as plain JSON: how steps combine, why a value is what it is, and computing a proof again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from headstock.errors import Corrupt
from headstock.licences import library
from headstock.licences.aliases import base
from headstock.licences.context import Context
from headstock.licences.expression import parse
from headstock.licences.judge import Judge, Outcome, Situation
from headstock.licences.policy import Policy
from headstock.licences.values import Value, agreed, all_of, any_of

Node = dict[str, Any]

FORMAT = 2
"""Grows when proofs change their shape."""


def combined(op: str, nodes: Sequence[Node]) -> Node:
    """A node of several: `all` must hold, `any` is enough, or the readings must `agree`."""
    return {"op": op, "of": list(nodes), "value": _combine(op, [node["value"] for node in nodes])}


def fact(value: Value, why: str) -> Node:
    """A leaf that is taken as given."""
    return {"op": "fact", "value": value, "why": [why]}


def sharing_node(terms: list[str], contested: str = "") -> Node:
    """Whether one licence can be found for works under `terms`; `contested` is the stance on whether one is needed."""
    # Imported here, as in `prover`: only sharing asks for it, and listings judge serving.
    from headstock.licences.outbound import sharing

    found = sharing([parse(text) for text in terms])
    node: Node = {"op": "sharing", "of_licences": terms, "value": found.value}
    if contested and found.value == "deny":
        node["value"] = "unknown"
    if contested:
        node["contested"] = contested
    if found.free:
        node["free"] = True
    why = [found.why] if found.why else []
    if contested and why:
        why.append(f"whether they are one work is contested (stance {contested})")
    return {**node, "outbound": list(found.licences), **({"why": why} if why else {})}


def outcome_of(judge: Judge, licence: str, situation: Situation) -> Outcome:
    """What one licence says; `unknown` if there is no record of it."""
    if refused := {licence, base(licence)} & set(judge.policy.refused):
        return Outcome("deny", (f"{refused.pop()} is on the policy's list of refused licences",))
    doc = library.find(base(licence))
    if doc is None:
        return Outcome("allow" if situation.scope in ("note", "attribute") else "unknown", (f"no record of {licence}",))
    return judge.judge(doc, situation)


def _combine(op: str, values: Sequence[Value]) -> Value:
    return {"all": all_of, "any": any_of, "agree": agreed}[op](values)


def leaves(node: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """Every node that names a licence."""
    if node["op"] == "terms":
        yield node
    for part in node.get("of", ()):
        yield from leaves(part)


def reasons(node: Mapping[str, Any]) -> list[str]:
    """Why a node is below `allow`: the reasons of the parts that make it so."""
    if node["value"] == "allow":
        return []
    parts = [part for part in node.get("of", ()) if part["value"] != "allow"]
    found = [*node.get("why", ()), *(reason for part in parts for reason in reasons(part))]
    if node["op"] == "agree":
        found.append("the readings lead to different answers" if not found else "")
    return list(dict.fromkeys(reason for reason in found if reason))


# ---------------------------------------------------------------------------------------------- replay
def replay(proof: Mapping[str, Any]) -> Value:
    """Compute a proof's value again from its leaves, with the records of today.

    Raises `Corrupt` if a step does not follow from its parts, or a licence record has changed since.
    """
    if proof.get("format") != FORMAT:
        raise Corrupt(f"a proof of format {proof.get('format')!r} cannot be replayed; expected {FORMAT}")
    for licence, digest in proof["records"].items():
        doc = library.find(licence)
        if doc is None or doc.digest != digest:
            raise Corrupt(f"the record of {licence} has changed since the proof was made", fix="headstock licence why")
    day = date.fromisoformat(proof["date"]) if "date" in proof else None
    judge = Judge(Policy.from_mapping(proof["policy"]), Context.from_mapping(proof["context"]), day)
    for beside in proof.get("code", ()):
        _replay(judge, beside)
    return _replay(judge, proof)


def _replay(judge: Judge, node: Mapping[str, Any]) -> Value:
    value: Value
    if node["op"] == "terms":
        value = outcome_of(judge, node["licence"], Situation.from_json(node)).value
    elif node["op"] == "sharing":
        value = sharing_node(list(node["of_licences"]), node.get("contested", ""))["value"]
    elif node["op"] == "fact":
        value = node["value"]
    else:
        value = _combine(node["op"], [_replay(judge, part) for part in node["of"]])
    if value != node["value"]:
        raise Corrupt(f"the proof says {node['value']!r} about {node.get('about', node['op'])!r}, but it is {value!r}")
    return value
