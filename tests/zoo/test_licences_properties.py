"""What holds for every lineage: parents only restrict, silence never allows, order is irrelevant, proofs replay."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstock.digest import Digest
from headstock.errors import Corrupt
from headstock.evidence import Covered
from headstock.licences import library
from headstock.licences.alike import Alike, values_of
from headstock.licences.composition import judge, judge_many
from headstock.licences.context import Context
from headstock.licences.expression import parse
from headstock.licences.facts import MADE_HERE, Conclusion, Facts
from headstock.licences.notice import notice
from headstock.licences.outbound import fits, sharing
from headstock.licences.policy import STANCES, Policy
from headstock.licences.proof import fact, replay
from headstock.licences.settled import settle
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
DECIDED = ("MIT", "CC-BY-NC-4.0", "GPL-3.0-only", "LicenseRef-headstock-llama-3.2", "MIT OR GPL-2.0-only")
COPIED = ("finetuned_from", "quantised_from", "pruned_from", "merged_from", "initialised_from", "uses_tokenizer_of")
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


@dataclass(frozen=True)
class Drawn:
    """One lineage: artefacts by name, edges between any of them (cycles too), statements, decisions, texts."""

    artefacts: dict[str, dict[str, Any]]
    edges: list[tuple[str, str, str]]
    statements: list[Evidence]
    decisions: list[Conclusion]
    texts: dict[str, dict[str, Digest]]

    @property
    def subject(self) -> Digest:
        return Digest("m" if "m" in self.artefacts else "d0")

    def facts(self, more: Sequence[tuple[str, str, str]] = ()) -> Facts:
        made = Facts.build(self.artefacts, [*self.edges, *more], self.statements, self.decisions)
        return replace(made, files=self.texts)

    def with_twins(self, count: int) -> Drawn:
        """The lineage with `count` copies of everything but backbones and sources, which the copies share."""
        shared = {name for name, identity in self.artefacts.items() if identity["kind"] in ("backbone", "source")}
        artefacts, edges = dict(self.artefacts), list(self.edges)
        statements, decisions = list(self.statements), list(self.decisions)
        for number in range(count):
            twin = {name: name if name in shared else f"{name}-{number}" for name in self.artefacts}
            for name, identity in self.artefacts.items():
                parts = {part: twin[identity[part]] for part in ("backbone", "head", "adapter") if identity.get(part)}
                artefacts[twin[name]] = {**identity, **parts}
            edges += [(twin[child], relation, twin[parent]) for child, relation, parent in self.edges]
            statements += [replace(s, subject=Digest(twin[s.subject])) for s in self.statements]
            decisions += [replace(d, subject=Digest(twin[d.subject])) for d in self.decisions]
        return Drawn(artefacts, edges, statements, decisions, self.texts)


def _statements(draw: st.DrawFn, name: str, kind: str) -> Iterator[Evidence]:
    drawn = st.tuples(st.sampled_from(WRITTEN), st.sampled_from(["card", "hub-tag", "licence-file", "operator"]))
    for written, source in draw(st.lists(drawn, max_size=2)):
        yield Evidence(Digest(name), "licence", written, source, f"hf:t/{name}@c/{source}", "")
    if draw(st.booleans()) and kind in ("backbone", "head", "adapter"):
        yield Evidence(Digest(name), MADE_HERE, "true", "fine-tune", "fine-tune")
    if draw(st.integers(0, 4)) == 0:
        yield Evidence(Digest(name), "licence", "NOASSERTION", "licence-file", f"hf:t/{name}@c/LICENSE", "ACME")
        yield Evidence(Digest(name), "licence", "NOASSERTION", "similarity", f"hf:t/{name}@c/LICENSE", "97% like MIT")


@st.composite
def lineages(draw: st.DrawFn) -> Drawn:
    """Any lineage; a model of it may have an adapter."""
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
    statements = [one for name in names for one in _statements(draw, name, artefacts[name]["kind"])]
    decided = draw(st.lists(st.tuples(st.sampled_from(names), st.sampled_from(DECIDED)), max_size=2))
    decisions = [Conclusion(Digest(n), e, "read it", "ada", "2026-01-01", i + 1) for i, (n, e) in enumerate(decided)]
    texts = {n: {"licence": Digest(f"text of {n}")} for n in names if draw(st.integers(0, 3)) == 0}
    if draw(st.booleans()):
        adapter = draw(st.sampled_from([None, *names]))
        artefacts["m"] = {"kind": "model", "backbone": names[0], "head": names[-1], "adapter": adapter}
    return Drawn(artefacts, edges, statements, decisions, texts)


@settings(max_examples=250, deadline=None)
@given(lineages(), contexts, stances, st.data())
def test_adding_a_parent_never_makes_a_composition_more_permitted(
    lineage: Drawn, context: Context, positions: dict[str, str], data: st.DataObject
) -> None:
    policy = Policy.from_mapping({"stances": positions})
    names = sorted(lineage.artefacts)
    more = data.draw(
        st.tuples(st.sampled_from(names), st.sampled_from(RELATIONS), st.sampled_from(names)),
        label="new edge",
    )
    before = judge(lineage.facts(), lineage.subject, context, policy)
    after = judge(lineage.facts([more]), lineage.subject, context, policy)

    assert rank(after.value) <= rank(before.value)


@settings(max_examples=150, deadline=None)
@given(lineages(), contexts, stances)
def test_under_enforce_only_allow_goes_on(lineage: Drawn, context: Context, positions: dict[str, str]) -> None:
    policy = Policy.from_mapping({"stances": positions, "mode": {"deny": "enforce", "unknown": "enforce"}})

    verdict = judge(lineage.facts(), lineage.subject, context, policy)

    assert (verdict.action == "refuse") is (verdict.value != "allow")
    assert verdict.permitted is (verdict.value == "allow")


def unlicensed_inside(lineage: Drawn) -> list[str]:
    """Artefacts that are certainly part of the subject and of which nothing makes the licence known.

    Written apart from the engine, and simpler: along parts and copies only, where there is no statement at all.
    """
    inside, waiting = set(), [str(lineage.subject)]
    while waiting:
        name = waiting.pop()
        if name not in inside:
            inside.add(name)
            identity = lineage.artefacts[name]
            parts = [identity.get(part) for part in ("backbone", "head", "adapter") if identity["kind"] == "model"]
            copied = [parent for child, relation, parent in lineage.edges if child == name and relation in COPIED]
            waiting += [part for part in (*parts, *copied) if part]
    spoken = {str(s.subject) for s in lineage.statements} | {str(d.subject) for d in lineage.decisions}
    # A head is made here unless something else is said; where a checkpoint came from says nothing of its own.
    silent = {name for name in inside - spoken if lineage.artefacts[name]["kind"] in ("backbone", "dataset", "plugin")}
    return sorted(silent)


@settings(max_examples=250, deadline=None)
@given(lineages(), contexts, stances)
def test_what_nobody_licensed_never_goes_on_under_enforce(
    lineage: Drawn, context: Context, positions: dict[str, str]
) -> None:
    policy = Policy.from_mapping({"stances": positions, "mode": {"deny": "enforce", "unknown": "enforce"}})

    if unlicensed_inside(lineage):
        assert not judge(lineage.facts(), lineage.subject, context, policy).permitted


def test_the_property_above_catches_an_engine_that_takes_silence_for_consent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backbone without a word about it under a model: the least that the property must object to."""
    model = {"kind": "model", "backbone": "d0", "head": "d1", "adapter": None}
    silent = Drawn({"d0": {"kind": "backbone"}, "d1": {"kind": "head"}, "m": model}, [], [], [], {})
    policy = Policy.from_mapping({"mode": {"deny": "enforce", "unknown": "enforce"}})
    assert unlicensed_inside(silent) == ["d0"]
    assert not judge(silent.facts(), silent.subject, Context(), policy).permitted

    monkeypatch.setattr("headstock.licences.prover.fact", lambda value, why: fact("allow", why))

    assert judge(silent.facts(), silent.subject, Context(), policy).permitted, "what the property would report"


@settings(max_examples=100, deadline=None)
@given(lineages(), stances)
def test_a_notice_names_everything_that_terms_can_come_from(lineage: Drawn, positions: dict[str, str]) -> None:
    """Every artefact of the closure that anything is said about, each of its licences, and each text once."""
    facts, policy = lineage.facts(), Policy.from_mapping({"stances": positions})

    document = notice(facts, "it", lineage.subject, policy, lambda blob: f"<{blob}>".encode())

    spoken = [name for name in closure(lineage, positions) if facts.own_statements(name) or name in facts.conclusions]
    for name in spoken:
        assert f"\n  {name}\n" in document
        for licence in settle(facts, name).licences:
            assert licence in document
        for blob in facts.files.get(name, {}).values():
            assert document.count(f"<{blob}>") == 1
    assert document == notice(facts, "it", lineage.subject, policy, lambda blob: f"<{blob}>".encode())


def closure(lineage: Drawn, positions: dict[str, str]) -> set[str]:
    """What parts and edges lead to, but for measuring, plugins' code, and heads where the policy frees them."""
    passed = {"evaluated_on", "built_by_plugin"} | ({"head_on", "adapter_of"} if positions["heads"] == "own" else set())
    found, waiting = set(), [str(lineage.subject)]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            identity = lineage.artefacts[name]
            parts = [identity.get(part) for part in ("backbone", "head", "adapter") if identity["kind"] == "model"]
            parents = [parent for child, relation, parent in lineage.edges if child == name and relation not in passed]
            waiting += [part for part in (*parts, *parents) if part]
    return found


@settings(max_examples=150, deadline=None)
@given(lineages(), contexts, stances, st.randoms())
def test_the_order_of_edges_and_statements_is_irrelevant(
    lineage: Drawn, context: Context, positions: dict[str, str], random: Any
) -> None:
    policy, subject = Policy.from_mapping({"stances": positions}), lineage.subject
    first = judge(lineage.facts(), subject, context, policy)
    shuffled = [list(lineage.artefacts.items()), lineage.edges * 2, list(lineage.statements), list(lineage.decisions)]
    for part in shuffled:
        random.shuffle(part)  # type: ignore[arg-type]

    second = judge(Facts.build(dict(shuffled[0]), *shuffled[1:]), subject, context, policy)  # type: ignore[arg-type]

    assert first == second
    assert first.proof_id == second.proof_id


@settings(max_examples=100, deadline=None)
@given(lineages(), contexts, stances, st.data())
def test_what_a_statement_is_about_makes_no_verdict_milder(
    lineage: Drawn, context: Context, positions: dict[str, str], data: st.DataObject
) -> None:
    """A licence said of code counts against weights too, until a person decides: nothing is lost by a wrong scope."""
    policy = Policy.from_mapping({"stances": positions})
    scope = st.sampled_from(get_args(Covered))
    told = replace(lineage, statements=[replace(s, scope=data.draw(scope)) for s in lineage.statements])

    before, after = (judge(one.facts(), one.subject, context, policy) for one in (lineage, told))

    assert (after.value, after.reason, after.duties) == (before.value, before.reason, before.duties)


@settings(max_examples=150, deadline=None)
@given(lineages(), contexts, stances)
def test_the_proof_replays_to_the_same_verdict(lineage: Drawn, context: Context, positions: dict[str, str]) -> None:
    policy = Policy.from_mapping({"stances": positions})
    verdict = judge(lineage.facts(), lineage.subject, context, policy)
    assert values_of(lineage.facts(), [lineage.subject], context, policy) == {lineage.subject: verdict.value}

    assert replay(json.loads(json.dumps(verdict.proof))) == verdict.value


@settings(max_examples=250, deadline=None)
@given(lineages(), contexts, stances, st.integers(0, 3))
def test_what_is_judged_once_for_all_alike_is_what_each_would_get(
    lineage: Drawn, context: Context, positions: dict[str, str], twins: int
) -> None:
    """Of every artefact, and of copies that differ from it in their digests only."""
    policy = Policy.from_mapping({"stances": positions})
    copied = lineage.with_twins(twins)

    each = {
        subject: judge(copied.facts(), Digest(subject), context, policy).value for subject in sorted(copied.artefacts)
    }

    assert values_of(copied.facts(), [Digest(s) for s in each], context, policy) == each


def test_a_thousand_heads_on_one_backbone_are_two_kinds_of_thing() -> None:
    """Each with its own data set; one that was trained on data of a known licence is another case."""
    artefacts: dict[str, dict[str, Any]] = {"b": {"kind": "backbone", "inputs": []}}
    edges = []
    for n in range(1000):
        artefacts |= {f"d{n}": {"kind": "dataset"}, f"h{n}": {"kind": "head"}}
        artefacts[f"m{n}"] = {"kind": "model", "backbone": "b", "head": f"h{n}", "adapter": None}
        edges += [(f"h{n}", "head_on", "b"), (f"h{n}", "trained_on", f"d{n}")]
    said = [
        Evidence(Digest("b"), "licence", "MIT", "card", "hf:t/b@c/card"),
        Evidence(Digest("d7"), "licence", "CC-BY-NC-4.0", "card", "d7"),
    ]
    facts = Facts.build(artefacts, edges, said)
    alike = Alike(facts)
    subjects = [Digest(f"m{n}") for n in range(1000)]
    policy = Policy.from_mapping({"stances": {"training_data": "inherit-nc"}})
    context = Context(purpose="commercial")

    found = values_of(facts, subjects, context, policy)

    assert len({alike.key(subject) for subject in subjects}) == 2
    assert found == {
        subject: verdict.value for subject, verdict in judge_many(facts, subjects, context, policy).items()
    }
    assert [subject for subject in subjects if found[subject] != found[Digest("m0")]] == ["m7"]


def test_heads_of_one_shape_on_different_backbones_are_not_alike() -> None:
    """Of another licence, or of another modality where the licence makes a difference of it."""
    artefacts: dict[str, dict[str, Any]] = {}
    said = []
    for backbone, licence, field in (
        ("free", "MIT", "input_ids"),
        ("nc", "CC-BY-NC-4.0", "input_ids"),
        ("text", "LicenseRef-headstock-llama-3.2", "input_ids"),
        ("vision", "LicenseRef-headstock-llama-3.2", "pixel_values"),
    ):
        artefacts[backbone] = {"kind": "backbone", "inputs": [{"name": "input_ids"}, {"name": field}]}
        said.append(Evidence(Digest(backbone), "licence", licence, "card", "hf:t/b@c/card"))
        # Of the last two each belongs to one model alone.
        for number in range(2 if backbone in ("free", "nc") else 1):
            artefacts[f"{backbone}-h{number}"] = {"kind": "head"}
            artefacts[f"{backbone}-m{number}"] = {
                "kind": "model",
                "backbone": backbone,
                "head": f"{backbone}-h{number}",
                "adapter": None,
            }
    facts = Facts.build(artefacts, [], said)
    subjects = [Digest(digest) for digest in artefacts if "-m" in digest]
    policy, context = Policy.from_mapping({}), Context(purpose="commercial", territory="DE")

    found = values_of(facts, subjects, context, policy)

    assert found == {
        subject: verdict.value for subject, verdict in judge_many(facts, subjects, context, policy).items()
    }
    assert [found[Digest(f"{b}-m0")] for b in ("free", "nc", "text", "vision")] == ["allow", "deny", "allow", "deny"]


@settings(max_examples=100, deadline=None)
@given(lineages(), contexts, st.data())
def test_an_edited_proof_does_not_replay(lineage: Drawn, context: Context, data: st.DataObject) -> None:
    verdict = judge(lineage.facts(), lineage.subject, context, Policy.default())
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
