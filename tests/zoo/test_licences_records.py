"""The licence records and the alias table: records are valid, hub ids have a meaning, families are ambiguous."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from headstock.digest import Digest
from headstock.errors import Corrupt, InvalidInput, NotFound
from headstock.licences import library
from headstock.licences.aliases import resolve
from headstock.licences.checkpoints import known_statements
from headstock.licences.composition import Verdict, judge
from headstock.licences.context import Context
from headstock.licences.expression import parse
from headstock.licences.outbound import fits, sharing
from headstock.licences.policy import STANCES, Policy
from headstock.licences.terms import LicenceDoc
from headstock.testing.lineage import Lineage

FAMILIES = ("bsd", "cc", "gfdl", "gpl", "lgpl", "openrail", "gemma", "llama")
DATA = Path(library.__file__).parent / "data"


def record(**changes: Any) -> dict[str, Any]:
    valid = {"id": "X-1", "name": "X", "documents": [{"source": "https://example.org/x"}]}
    return valid | changes


@pytest.mark.parametrize("licence", library.ids())
def test_every_record_is_valid_and_names_where_its_text_is(licence: str) -> None:
    doc = library.get(licence)

    assert doc.id == licence
    assert all(document.source for document in doc.documents)
    for other in (*doc.outbound.to, *doc.outbound.not_to, *doc.outbound.unsure):
        assert library.find(other) is not None, f"{licence} names {other}, which has no record"


@pytest.mark.parametrize("licence", library.ids())
def test_ids_are_of_spdx_or_our_own_versioned_references(licence: str) -> None:
    from license_expression import get_spdx_licensing

    if licence.startswith(library.REF):
        assert re.fullmatch(r"LicenseRef-headstock-[a-z0-9][a-z0-9.-]*", licence)
    else:
        # OpenMDW is on the SPDX list since 2026, and not in the parser's older copy of it.
        assert licence == "OpenMDW-1.0" or licence in get_spdx_licensing().known_symbols


def test_there_are_records_for_what_models_use() -> None:
    assert len(library.ids()) >= 60
    for name in ("llama-2", "llama-3", "llama-3.1", "llama-3.2", "llama-4", "apple-amlr", "imagenet-terms"):
        assert library.find(library.REF + name) is not None


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"conditons": []}, "keys that mean nothing: \\['conditons'\\]"),
        ({"documents": []}, "names no document"),
        ({"name": ""}, "has no 'name'"),
        ({"conditions": [{"duty": "dance", "on": ["use"]}]}, "duty is 'dance'"),
        ({"conditions": [{"duty": "display", "on": ["tuesday"]}]}, "on is"),
        ({"restrictions": [{"kind": "scale", "values": ["many"]}]}, "a scale has one number"),
        ({"flow": {"finetuned_from": "own"}}, "flow has \\['finetuned_from'\\]"),
        ({"flow": {"head_on": "forbidden"}}, "nothing can forbid head_on"),
        ({"outbound": {"mode": "maybe"}}, "mode is 'maybe'"),
        ({"flow": {"distilled_from": "limited"}}, "'limited' and 'students' go together"),
        ({"restrictions": [{"kind": "revenue", "values": []}]}, "a revenue has one number"),
        ({"lifecycle": {"expires": "next year"}}, "expires is 'next year'"),
    ],
)
def test_a_wrong_record_is_refused_with_its_name(changes: dict[str, Any], said: str) -> None:
    assert LicenceDoc.from_mapping(record()).complete
    with pytest.raises(Corrupt, match=f"'X-1'.*{said}"):
        LicenceDoc.from_mapping(record(**changes))


def test_records_hold_no_licence_text() -> None:
    """Facts in our own words: no field is as long as a clause."""
    for licence in library.ids():
        doc = library.get(licence)
        for text in (doc.remark, *(condition.payload for condition in doc.conditions)):
            assert len(text) < 200, licence


def test_hashes_of_texts_are_those_of_the_systems_copies() -> None:
    folder = Path("/usr/share/common-licenses")
    pairs = {"Apache-2.0": "Apache-2.0", "GPL-3.0-only": "GPL-3", "MPL-2.0": "MPL-2.0", "CC0-1.0": "CC0-1.0"}
    present = {licence: folder / name for licence, name in pairs.items() if (folder / name).is_file()}
    if not present:
        pytest.skip("this system has no /usr/share/common-licenses")
    for licence, path in present.items():
        words = " ".join(re.findall(r"[a-z0-9]+", path.read_text(errors="replace").lower()))
        found = f"sha256:{hashlib.sha256(words.encode()).hexdigest()}"
        assert found == library.get(licence).documents[0].words


# ------------------------------------------------------------------------------------- aliases
def hub_ids() -> list[str]:
    return sorted(name for name, entry in library.aliases().items() if entry.get("hub"))


def test_all_83_ids_of_the_hub_are_in_the_table() -> None:
    assert len(hub_ids()) == 83


@pytest.mark.parametrize("written", hub_ids())
def test_every_hub_id_resolves(written: str) -> None:
    meaning = resolve(written)

    if written in ("unknown", "other"):
        assert meaning.kind == "unstated"
    elif meaning.kind == "ambiguous":
        assert meaning.why
        assert all(library.find(candidate) is not None for candidate in meaning.candidates)
    else:
        assert meaning.kind == "licence"
        assert meaning.expression is not None
        assert library.find(str(meaning.expression)) is not None


@pytest.mark.parametrize("written", FAMILIES)
def test_a_family_is_never_a_licence(written: str) -> None:
    assert resolve(written).kind == "ambiguous"
    assert resolve(written.upper()).expression is None


@pytest.mark.parametrize(
    "written, expected",
    [
        ("llama3.2", "LicenseRef-headstock-llama-3.2"),
        ("bsl-1.0", "BSL-1.0"),
        ("openrail++", "LicenseRef-headstock-creativeml-openrail-plus-plus-m"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("mit OR apache-2.0", "Apache-2.0 OR MIT"),
        ("MIT AND (Apache-2.0 OR BSD-3-Clause)", "(Apache-2.0 OR BSD-3-Clause) AND MIT"),
        ("LicenseRef-headstock-llama-3.2 AND MIT", "LicenseRef-headstock-llama-3.2 AND MIT"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"),
    ],
)
def test_what_is_written_becomes_an_expression(written: str, expected: str) -> None:
    assert str(resolve(written).expression) == expected


@pytest.mark.parametrize("written", ["see LICENSE", "free", "RAIL", "permissive", "my own"])
def test_what_is_not_understood_stays_unknown(written: str) -> None:
    assert resolve(written).kind == "unknown"
    assert resolve(written).expression is None


@pytest.mark.parametrize("text", ["", "MIT AND", "AND", "(MIT"])
def test_a_broken_expression_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="expression"):
        parse(text)


def test_an_unknown_record_names_near_ones() -> None:
    with pytest.raises(NotFound, match=r"did you mean .*LicenseRef-headstock-llama-3\.2"):
        library.get("llama-3.2")


def test_known_checkpoints_state_licences_that_have_records() -> None:
    table = tomllib.loads((DATA / "checkpoints.toml").read_text())
    for repository in table:
        for statement in known_statements(repository, "sha256:x"):  # type: ignore[arg-type]
            assert library.find(statement.value) is not None


# ------------------------------------------------------------------------------------- policy
def test_the_default_policy_takes_a_position_on_every_stance() -> None:
    policy = Policy.default()

    assert policy.stances.keys() == STANCES.keys()
    assert (policy.deny, policy.unknown) == ("enforce", "warn")
    assert Policy.from_mapping(policy.to_json()).digest == policy.digest


@pytest.mark.parametrize(
    "value, said",
    [
        ({"stances": {"training_data": "yes"}}, "stance training_data is 'yes'; expected one of"),
        ({"stances": {"trainingdata": "warn"}}, "has no 'trainingdata'"),
        ({"mode": {"deny": "maybe"}}, "mode of deny is 'maybe'"),
        ({"context": {"purpose": "fun"}}, "purpose is 'fun'"),
        ({"context": {"scale": -1}}, "scale is -1"),
        ({"context": 3}, "expected a section"),
        ({"extra": {}}, "no section 'extra'"),
    ],
)
def test_a_wrong_policy_says_what_is_wrong(value: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        Policy.from_mapping(value)


def test_judging_one_simple_licence_imports_no_parser_and_no_database() -> None:
    """A listing with a verdict column must stay as cheap as one without."""
    code = (
        "import sys\n"
        "from headstock.licences.context import Context\n"
        "from headstock.licences.policy import Policy\n"
        "from headstock.licences.composition import judge\n"
        "from headstock.testing.lineage import Lineage\n"
        "lineage = Lineage(); lineage.backbone('b'); lineage.says('b', 'LicenseRef-headstock-llama-3')\n"
        "before = set(sys.modules)\n"
        "assert judge(lineage.facts(), lineage['b'], Context(), Policy.default()).value == 'allow'\n"
        "heavy = {'sqlalchemy', 'license_expression', 'pydantic', 'numpy', 'torch', 'grpc'}\n"
        "assert not heavy & (set(sys.modules) - before), heavy & set(sys.modules)\n"
        "assert not (heavy - {'license_expression'}) & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_page_about_licences_names_every_stance_with_its_default_first_and_every_command() -> None:
    from headstock.cli.audit import command as audit
    from headstock.cli.licence import command as licence

    page = (Path(__file__).parents[2] / "docs" / "licences.md").read_text()
    for stance, positions in STANCES.items():
        default = Policy.default().stances[stance]
        others = [position for position in positions if position != default]
        shown = ", ".join(f"`{position}`" for position in [default, *others])
        assert re.search(rf"\| `{stance}` \| [^|]+ \| {re.escape(shown)} \|", page), stance
    for name in licence.commands:
        assert f"`headstock licence {name}`" in page
    for name in audit.commands:
        assert f"`headstock audit {name}`" in page


# ------------------------------------------------------------------------------------- facts of single licences
COMMERCIAL = Context(purpose="commercial", audience="public")
RESEARCH = Context(purpose="research")
BARRED = ("nuclear", "espionage", "transportation", "heavy-machinery", "malware", "harassment", "discrimination")


def ask(tag: str, context: Context, modality: str = "text", relation: str = "") -> Verdict:
    """The verdict on a backbone under `tag`, or on a plain child of it along `relation`."""
    lineage = Lineage()
    lineage.backbone("parent", tag=tag, modality=modality)
    if relation:
        lineage.backbone("child", tag="mit")
        lineage.edge("child", relation, "parent")
    return judge(lineage.facts(), lineage["child" if relation else "parent"], context, Policy.default())


@pytest.mark.parametrize("tag", ["llama3.2", "llama3.3", "llama4"])
def test_these_llamas_grant_no_multimodal_model_to_the_eu(tag: str) -> None:
    """It stands in their use policies."""
    where = Context(purpose="commercial", territory="FR")
    assert ask(tag, where, "multimodal").value == "deny"
    assert ask(tag, where).value == "allow"


@pytest.mark.parametrize("tag", ["llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4"])
def test_every_llama_bars_what_its_use_policy_lists(tag: str) -> None:
    assert {ask(tag, Context(sector=sector)).value for sector in BARRED} == {"deny"}


@pytest.mark.parametrize(
    "tag, students",
    [
        ("llama2", "other large language models"),
        ("llama3", "other large language models"),
        ("tongyi-qianwen", "other large language models"),
        ("stabilityai-ai-community", "foundational generative models"),
        ("flux-1-dev-non-commercial-license", "models that compete with it"),
    ],
)
def test_a_ban_on_some_students_leaves_it_open_whether_this_is_one(tag: str, students: str) -> None:
    found = ask(tag, RESEARCH, relation="distilled_from")

    assert found.value == "unknown"
    assert f"may not be used to improve {students}" in found.reason


def test_llama_3_names_its_students_and_qwen_is_displayed_by_them() -> None:
    for tag, duty, payload in (("llama3", "name-prefix", "Llama 3"), ("qwen", "display", "Built with Qwen")):
        found = ask(tag, COMMERCIAL, relation="trained_on_outputs_of")
        assert [(d.duty, d.payload) for d in found.duties] == [(duty, payload)]


def test_version_3_of_no_derivatives_allows_no_private_changes_and_version_4_does() -> None:
    assert ask("cc-by-nc-nd-3.0", RESEARCH, relation="finetuned_from").value == "deny"
    assert ask("cc-by-nc-nd-4.0", RESEARCH, relation="finetuned_from").value == "allow"
    for tag in ("cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"):
        assert ask(tag, RESEARCH).value == "allow"
        assert ask(tag, RESEARCH, relation="converted_from").value == "allow", "a change of format is none"


def test_what_gpt_2_wrote_is_free_of_its_terms() -> None:
    policy = Policy.default().with_stances(silence="inherit")
    lineage = Lineage()
    lineage.backbone("gpt2")
    lineage.says("gpt2", "LicenseRef-headstock-gpt2-modified-mit")
    lineage.backbone("reader", tag="mit")
    lineage.edge("reader", "trained_on_outputs_of", "gpt2")

    assert judge(lineage.facts(), lineage["reader"], COMMERCIAL, policy).duties == ()


def test_a_limit_on_revenue_is_open_for_everything_but_research() -> None:
    tag = "stabilityai-ai-community"
    assert "1000000 US dollars a year" in str(ask(tag, COMMERCIAL).proof)
    assert "US dollars" not in str(ask(tag, RESEARCH).proof)


def test_apple_s_research_licence_asks_for_its_line_and_for_word_of_changes() -> None:
    shared = Context(purpose="research", audience="public", act="distribute")
    owed = {d.duty for d in ask("apple-amlr", shared, relation="finetuned_from").duties}
    assert {"notice-line", "state-changes", "include-text"} <= owed


def test_lppl_lets_a_whole_go_out_under_other_terms_and_eupl_under_cc_by_sa() -> None:
    assert sharing([parse("LPPL-1.3c"), parse("MIT")]).licences == ("LPPL-1.3c",)
    assert fits("EUPL-1.2", "CC-BY-SA-3.0") == "allow"


@pytest.mark.parametrize(
    "repository, licences",
    [
        ("hf:openai/whisper-large-v3", {"MIT", "Apache-2.0"}),
        ("hf:google/efficientnet-b0", {"Apache-2.0"}),
        ("hf:google/vit-base-patch16-224", {"Apache-2.0"}),
        ("hf:distilbert/distilroberta-base", {"Apache-2.0"}),
        ("path:deepspeech-0.9.3", {"MPL-2.0"}),
    ],
)
def test_well_known_checkpoints_have_every_voice_that_speaks_of_them(repository: str, licences: set[str]) -> None:
    assert {s.value for s in known_statements(repository, Digest("sha256:" + "0" * 64))} == licences
