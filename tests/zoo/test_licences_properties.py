"""What holds for every lineage: parents only restrict, silence never allows, order is irrelevant, proofs replay."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstock.digest import Digest
from headstock.errors import Corrupt
from headstock.licences import library
from headstock.licences.composition import judge
from headstock.licences.context import Context
from headstock.licences.expression import parse
from headstock.licences.facts import Facts
from headstock.licences.outbound import fits, sharing
from headstock.licences.policy import STANCES, Policy
from headstock.licences.proof import replay
from headstock.licences.values import rank
from headstock.records import RELATIONS, Evidence

WRITTEN = (
    "MIT",
    "Apache-2.0",
    "GPL-3.0-only",
    "GPL-2.0-only",
    "CC-BY-NC-4.0",
    "CC-BY-NC-ND-4.0",
    "CC-BY-SA-4.0",
    "LicenseRef-headstock-llama-3",
    "LicenseRef-headstock-llama-3.2",
    "LicenseRef-headstock-gemma-terms-2026-04-01",
    "LicenseRef-headstock-grok-2-community",
    "LicenseRef-headstock-imagenet-terms",
    "MIT OR CC-BY-NC-4.0",
    "MIT AND GPL-2.0-only",
    "Beerware",
    "NOASSERTION",
)
KINDS = ("backbone", "source", "dataset", "head", "adapter", "plugin")

contexts = st.builds(
    Context,
    purpose=st.sampled_from(["research", "internal", "commercial"]),
    audience=st.sampled_from(["self", "tenant", "public"]),
    act=st.sampled_from(["train", "serve", "distribute"]),
    territory=st.sampled_from(["", "DE", "US"]),
    sector=st.sampled_from(["", "military"]),
    scale=st.sampled_from([None, 10, 10**9]),
)
stances = st.fixed_dictionaries({name: st.sampled_from(positions) for name, positions in STANCES.items()})


@st.composite
def lineages(draw: st.DrawFn) -> tuple[dict[str, dict[str, Any]], list[tuple[str, str, str]], list[Evidence]]:
    """Artefacts, edges between any of them (cycles too), and statements about some."""
    count = draw(st.integers(2, 6))
    artefacts: dict[str, dict[str, Any]] = {}
    for number in range(count):
        kind = draw(st.sampled_from(KINDS))
        inputs = draw(st.sampled_from([[], ["input_ids"], ["input_ids", "pixel_values"]]))
        artefacts[f"d{number}"] = {
            "kind": kind,
            "name": f"n{number}",
            "spec": f"hf:t/n{number}",
            "inputs": [{"name": i} for i in inputs],
        }
    names = sorted(artefacts)
    edges = draw(
        st.lists(st.tuples(st.sampled_from(names), st.sampled_from(RELATIONS), st.sampled_from(names)), max_size=8)
    )
    if draw(st.booleans()):
        artefacts["m"] = {"kind": "model", "backbone": names[0], "head": names[-1], "adapter": None}
    statements = [
        Evidence(Digest(name), "licence", written, source, f"hf:t/{name}@c/{source}", "")
        for name in names
        for written, source in draw(
            st.lists(st.tuples(st.sampled_from(WRITTEN), st.sampled_from(["card", "hub-tag"])), max_size=2)
        )
    ]
    return artefacts, edges, statements


def subject_of(artefacts: Mapping[str, Any]) -> Digest:
    return Digest("m" if "m" in artefacts else "d0")


@settings(max_examples=250, deadline=None)
@given(lineages(), contexts, stances, st.data())
def test_adding_a_parent_never_makes_a_composition_more_permitted(
    lineage: Any, context: Context, positions: dict[str, str], data: st.DataObject
) -> None:
    artefacts, edges, statements = lineage
    policy = Policy.from_mapping({"stances": positions})
    names = sorted(artefacts)
    more = data.draw(
        st.tuples(st.sampled_from(names), st.sampled_from(RELATIONS), st.sampled_from(names)),
        label="new edge",
    )
    subject = subject_of(artefacts)

    before = judge(Facts.build(artefacts, edges, statements), subject, context, policy)
    after = judge(Facts.build(artefacts, [*edges, more], statements), subject, context, policy)

    assert rank(after.value) <= rank(before.value)


@settings(max_examples=150, deadline=None)
@given(lineages(), contexts, stances)
def test_under_enforce_only_allow_goes_on(lineage: Any, context: Context, positions: dict[str, str]) -> None:
    artefacts, edges, statements = lineage
    policy = Policy.from_mapping({"stances": positions, "mode": {"deny": "enforce", "unknown": "enforce"}})

    verdict = judge(Facts.build(artefacts, edges, statements), subject_of(artefacts), context, policy)

    assert (verdict.action == "refuse") is (verdict.value != "allow")
    assert verdict.permitted is (verdict.value == "allow")


@settings(max_examples=150, deadline=None)
@given(lineages(), contexts, stances, st.randoms())
def test_the_order_of_edges_and_statements_is_irrelevant(
    lineage: Any, context: Context, positions: dict[str, str], random: Any
) -> None:
    artefacts, edges, statements = lineage
    policy, subject = Policy.from_mapping({"stances": positions}), subject_of(artefacts)
    first = judge(Facts.build(artefacts, edges, statements), subject, context, policy)
    shuffled = [list(artefacts.items()), list(edges) + list(edges), list(statements)]
    for part in shuffled:
        random.shuffle(part)

    second = judge(Facts.build(dict(shuffled[0]), shuffled[1], shuffled[2]), subject, context, policy)

    assert first == second
    assert first.proof_id == second.proof_id


@settings(max_examples=150, deadline=None)
@given(lineages(), contexts, stances)
def test_the_proof_replays_to_the_same_verdict(lineage: Any, context: Context, positions: dict[str, str]) -> None:
    artefacts, edges, statements = lineage
    policy = Policy.from_mapping({"stances": positions})
    verdict = judge(Facts.build(artefacts, edges, statements), subject_of(artefacts), context, policy)

    assert replay(json.loads(json.dumps(verdict.proof))) == verdict.value


@settings(max_examples=100, deadline=None)
@given(lineages(), contexts, st.data())
def test_an_edited_proof_does_not_replay(lineage: Any, context: Context, data: st.DataObject) -> None:
    artefacts, edges, statements = lineage
    verdict = judge(Facts.build(artefacts, edges, statements), subject_of(artefacts), context, Policy.default())
    proof = copy.deepcopy(dict(verdict.proof))
    other = data.draw(st.sampled_from(sorted({"allow", "deny", "unknown"} - {verdict.value})))
    proof["value"] = other

    with pytest.raises(Corrupt):
        replay(proof)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(library.ids()), min_size=1, max_size=4), st.sampled_from(library.ids()))
def test_one_more_work_never_widens_what_the_whole_may_go_out_under(licences: list[str], more: str) -> None:
    before = sharing([parse(licence) for licence in licences])
    after = sharing([parse(licence) for licence in [*licences, more]])

    assert rank(after.value) <= rank(before.value)
    assert sharing([parse(licence) for licence in reversed([*licences, more])]) == after


@given(st.sampled_from(library.ids()))
def test_a_licence_fits_itself_unless_it_allows_no_changes(licence: str) -> None:
    none = library.get(licence).outbound.mode == "none"
    assert fits(licence, licence) == ("deny" if none else "allow")


def test_a_proof_names_the_records_it_was_made_with() -> None:
    facts = Facts.build(
        {"d0": {"kind": "backbone"}}, (), [Evidence(Digest("d0"), "licence", "MIT", "card", "hf:t/a@c", "")]
    )
    proof = dict(judge(facts, Digest("d0"), Context(), Policy.default()).proof)
    assert proof["records"] == {"MIT": library.get("MIT").digest}
    proof["records"] = {"MIT": "sha256:" + "0" * 64}

    with pytest.raises(Corrupt, match="the record of MIT has changed"):
        replay(proof)


def test_a_lineage_of_ten_thousand_nodes_is_judged_without_recursion() -> None:
    """A chain of five thousand generations, each with a data set; no recursion, no quadratic walk."""
    artefacts: dict[str, dict[str, Any]] = {}
    edges, statements = [], []
    for number in range(5000):
        artefacts[f"b{number}"] = {"kind": "backbone", "family": f"b{number}"}
        artefacts[f"s{number}"] = {"kind": "dataset", "name": f"s{number}"}
        edges.append((f"b{number}", "trained_on", f"s{number}"))
        if number:
            edges.append((f"b{number - 1}", "finetuned_from", f"b{number}"))
        for name in (f"b{number}", f"s{number}"):
            statements.append(Evidence(Digest(name), "licence", "Apache-2.0", "card", f"hf:t/{name}@c", ""))
    statements[-2] = Evidence(Digest("b4999"), "licence", "CC-BY-NC-4.0", "card", "hf:t/last@c", "")
    facts = Facts.build(artefacts, edges, statements)

    verdict = judge(facts, Digest("b0"), Context(purpose="commercial"), Policy.default())

    assert len(verdict.proof["of"]) == 10_000
    assert verdict.value == "deny"
    assert replay(verdict.proof) == "deny"
