"""What an engine gets wrong in the permissive direction, case by case: each of these once said allow."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from headstock.catalogue import Catalogue
from headstock.cli.main import main
from headstock.digest import Digest
from headstock.errors import InvalidInput, LicenceRefused, NotFound
from headstock.licences.composition import Verdict, judge
from headstock.licences.context import Context
from headstock.licences.decisions import conclude
from headstock.licences.enforcement import check_fine_tune
from headstock.licences.expression import parse
from headstock.licences.facts import MADE_HERE
from headstock.licences.outbound import sharing
from headstock.licences.policy import Policy
from headstock.licences.proof import replay
from headstock.licences.statements import declared
from headstock.licences.texts import recognise_words, resembled
from headstock.licences.whole import outbound, whole
from headstock.records import Evidence
from headstock.sources.evidence import licence_file_statements, licence_statement
from headstock.testing.lineage import Lineage
from headstock.testing.publications import backbone_publication
from headstock.testing.toy import publish_backbone, publish_model

POLICY = Policy.default()
COMMERCIAL = Context(purpose="commercial", audience="public")
SHARED = Context(purpose="research", audience="public", act="distribute")
PUBLIC = '[context]\npurpose = "commercial"\naudience = "public"\n'
SUBJECT = Digest("sha256:" + "1" * 64)


def ask(lineage: Lineage, name: str, context: Context = COMMERCIAL, policy: Policy = POLICY) -> Verdict:
    verdict = judge(lineage.facts(), lineage[name], context, policy)
    assert replay(verdict.proof) == verdict.value
    return verdict


# ---------------------------------------------------------------------------------------------- distillation
@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A free backbone `toy`, and model `teacher` on a backbone that is non-commercial."""
    monkeypatch.setenv("HEADSTOCK_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with Catalogue.open() as catalogue:
        publish_backbone(catalogue)
        bound = publish_backbone(catalogue, "bound", seed=3)
        publish_model(catalogue, "teacher", bound)
        conclude(catalogue, bound.subject, "CC-BY-NC-4.0", "decided for the test")
    (tmp_path / "home" / "policy.toml").write_text(PUBLIC)
    return tmp_path / "home"


def test_a_teacher_is_judged_before_anything_is_trained(home: Path) -> None:
    with Catalogue.open() as catalogue:
        toy, teacher = (catalogue.newest(name).subject for name in ("toy", "teacher"))
        assert check_fine_tune(catalogue, toy, "toy", "student", "t.csv", "CC0-1.0") == []
        with pytest.raises(LicenceRefused, match=r"CC-BY-NC-4\.0: non-commercial.*our own use of it to train"):
            check_fine_tune(catalogue, toy, "toy", "student", "t.csv", "CC0-1.0", teacher=teacher)
        with pytest.raises(LicenceRefused, match=r"CC-BY-NC-4\.0"):
            check_fine_tune(catalogue, toy, "toy", "student", "t.csv", "CC0-1.0", True, teacher=teacher)


def test_a_parent_s_head_is_judged_too(home: Path) -> None:
    with Catalogue.open() as catalogue:
        toy = catalogue.newest("toy")
        parent = publish_model(catalogue, "parent", toy)
        head = next(e.child for e in catalogue.edges(parent=toy.subject) if e.relation == "head_on")
        conclude(catalogue, head, "CC-BY-NC-4.0", "bought for research")
        with pytest.raises(LicenceRefused, match=r"head text-classification: CC-BY-NC-4\.0"):
            check_fine_tune(catalogue, toy.subject, "toy", "child", "t.csv", "CC0-1.0", parent=parent.subject)


def test_a_teacher_that_the_catalogue_does_not_have_is_refused(home: Path) -> None:
    with Catalogue.open() as catalogue:
        toy = catalogue.newest("toy").subject
        with pytest.raises(NotFound, match="no artefact"):
            check_fine_tune(catalogue, toy, "toy", "student", "t.csv", "CC0-1.0", teacher=SUBJECT)


def test_distil_asks_before_the_teacher_answers_anything(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the command, and before the lesson: running the teacher is a use of it."""

    def refuse(*_: object) -> None:
        raise AssertionError("the teacher was run")

    monkeypatch.setattr("headstock.finetune.lesson.answers", refuse)
    rows = [f"w{i} {'great' if i % 2 else 'awful'},{'positive' if i % 2 else 'negative'}" for i in range(24)]
    Path("rows.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    asked = [
        "distil",
        "--teacher",
        "teacher",
        "--student",
        "toy",
        "--data",
        "rows.csv",
        "--name",
        "student",
        "--any-size",
    ]
    monkeypatch.setattr(sys, "argv", ["headstock", *asked, "--epochs", "1", "--strategy", "feature-extraction"])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 1
    assert "'student' on 'toy' is refused: the licence verdict is deny" in capsys.readouterr().err


def test_our_own_use_of_a_teacher_is_judged_whatever_passes_to_the_student() -> None:
    """Llama 3.2 hands on only its name; running its vision model in the EU is not granted all the same."""
    lineage = Lineage()
    lineage.backbone("vision", tag="llama3.2", modality="multimodal")
    lineage.backbone("research", tag="cc-by-nc-4.0")
    for teacher in ("vision", "research"):
        lineage.backbone(f"toy for {teacher}", tag="mit")
        lineage.model(f"student of {teacher}", on=f"toy for {teacher}")
        lineage.edge(f"head of student of {teacher}", "distilled_from", teacher)
    train = Context(purpose="commercial", act="train", territory="DE")

    assert ask(lineage, "student of vision", train).value == "deny"
    assert ask(lineage, "student of vision", Context(purpose="commercial", territory="US")).value == "allow"
    assert ask(lineage, "student of research", train).value == "deny"
    assert ask(lineage, "student of research", Context(purpose="research")).value == "allow"


def test_what_others_distilled_was_not_used_by_us() -> None:
    lineage = Lineage()
    lineage.backbone("teacher", tag="cc-by-nc-4.0")
    lineage.backbone("pulled", tag="mit")
    lineage.edge("pulled", "distilled_from", "teacher")

    assert ask(lineage, "pulled").value == "unknown"


# ---------------------------------------------------------------------------------------------- made here
@pytest.mark.parametrize("kind", ["head", "adapter"])
def test_a_head_or_adapter_from_elsewhere_is_not_our_own_work(kind: str) -> None:
    lineage = Lineage()
    lineage.backbone("toy", tag="mit")
    lineage.part("mine", kind, on="toy")
    lineage.part("theirs", kind, on="toy", seed=1)
    lineage.source("repository", "hf:someone/lora")
    lineage.edge("theirs", "converted_from", "repository")
    lineage.part("silent", kind, on="toy", seed=2)
    lineage.says("silent", "", "hub-tag")
    enforce = Policy.from_mapping({"mode": {"unknown": "enforce"}, "stances": {"heads": "own"}})

    assert ask(lineage, "mine", policy=enforce).value == "allow"
    for name in ("theirs", "silent"):
        assert (ask(lineage, name, policy=enforce).value, ask(lineage, name, policy=enforce).permitted) == (
            "unknown",
            False,
        )


# ---------------------------------------------------------------------------------------------- outbound
def test_outbound_of_what_nobody_licensed_is_not_known() -> None:
    lineage = Lineage()
    lineage.backbone("silent")
    lineage.model("intents", on="silent")

    found = outbound(whole(lineage.facts(), lineage["intents"], POLICY))

    assert (found.value, found.licences, found.free) == ("unknown", (), False)
    assert found.why == "backbone silent: no source states a licence"


def test_outbound_keeps_a_choice_a_choice() -> None:
    lineage = Lineage()
    lineage.backbone("merge")
    lineage.says("merge", "LicenseRef-headstock-own-work", "operator")
    lineage.backbone("either")
    lineage.says("either", "MIT OR GPL-2.0-only")
    lineage.backbone("strong", tag="gpl-3.0")
    for parent in ("either", "strong"):
        lineage.edge("merge", "merged_from", parent)

    contents = whole(lineage.facts(), lineage["merge"], POLICY)

    assert outbound(contents).licences == ("GPL-3.0-only",)
    assert sharing([parse("MIT"), parse("GPL-2.0-only"), parse("GPL-3.0-only")]).value == "deny"


def test_outbound_counts_what_reaches_a_student() -> None:
    lineage = Lineage()
    for teacher, tag in (("rail", "bigscience-openrail-m"), ("alike", "cc-by-sa-4.0"), ("free", "mit")):
        lineage.backbone(teacher, tag=tag)
        lineage.backbone(f"from {teacher}", tag="mit")
        lineage.edge(f"from {teacher}", "distilled_from", teacher)
    found = {t: outbound(whole(lineage.facts(), lineage[f"from {t}"], POLICY)) for t in ("rail", "alike", "free")}

    assert found["rail"].licences == ("LicenseRef-headstock-bigscience-openrail-m",)
    assert found["alike"].value == "unknown"
    assert found["free"].free


def test_the_command_says_that_it_is_not_known(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Catalogue.open() as catalogue:
        publication = backbone_publication(catalogue.store, "silent", licences=[])
        catalogue.publish(publication)
    monkeypatch.setattr(sys, "argv", ["headstock", "licence", "outbound", "silent"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out.splitlines() == [
        "contains nothing with a stated licence",
        "it is not known under what it may be shared: backbone bert: no source states a licence",
    ]


# ---------------------------------------------------------------------------------------------- texts
EVALUATION = "ACME Non-Commercial Evaluation Licence. You may evaluate the weights for thirty days, and not sell them."


def beside(tmp_path: Path, tag: str, text: str) -> tuple[set[str], str, bool]:
    """Findings, declared licence, and whether anything warns, of a tag and a text."""
    (tmp_path / "LICENSE").write_text(text)
    said = [licence_statement(tag, "hub-tag", "hf:o/n@1"), *licence_file_statements(tmp_path / "LICENSE", "hf:o/n@1/L")]
    read = declared(one.about(SUBJECT) for one in said)
    definite = len(read.readings) == 1 and read.readings[0].expression is not None
    return {f.kind for f in read.findings}, "one" if definite else "doubt", any(f.warn for f in read.findings)


@pytest.mark.parametrize("tag", ["cc-by-4.0", "llama3.2", "bigscience-openrail-m", "isc", "mit", "openmdw-1.0"])
def test_a_text_that_is_not_the_tag_s_leaves_the_licence_in_doubt(tmp_path: Path, tag: str) -> None:
    assert beside(tmp_path, tag, EVALUATION) == ({"text-differs"}, "doubt", True)


def test_a_text_that_cannot_be_compared_warns(tmp_path: Path) -> None:
    assert beside(tmp_path, "apple-amlr", EVALUATION) == ({"text-not-compared"}, "one", True)


def test_a_text_that_is_nearly_another_licence_is_named(tmp_path: Path) -> None:
    """By Dice's coefficient of its word pairs; alike is never the same."""
    mit = (Path(__file__).parents[2] / "tests/zoo/test_licence_evidence.py").read_text().split('"""')[3]
    changed = mit.replace("free of charge", "for a fee")
    assert recognise_words(changed) == ""
    assert resembled(changed)[0] == "MIT"
    assert resembled(EVALUATION) == ("", 0.0)
    (tmp_path / "LICENSE").write_text(changed)

    said = licence_file_statements(tmp_path / "LICENSE", "hf:o/n@1/LICENSE")

    assert [(s.source, s.value) for s in said] == [("licence-file", "NOASSERTION"), ("similarity", "NOASSERTION")]
    assert said[1].raw.endswith("% like MIT")
    assert beside(tmp_path, "apple-amlr", changed) == ({"text-differs"}, "doubt", True)
    assert beside(tmp_path, "other", changed) == ({"unknown-licence"}, "doubt", True)


# ---------------------------------------------------------------------------------------------- vocabularies
@pytest.mark.parametrize("written", ["Germany", "Deutschland", "EEA", "UK", "EU-27", "D", "XX"])
def test_a_place_that_is_no_country_s_code_is_refused(written: str) -> None:
    with pytest.raises(InvalidInput, match="ISO 3166-1 alpha-2") as error:
        Context.from_mapping({"territory": written})
    assert error.value.fix
    with pytest.raises(InvalidInput):
        Policy.from_mapping({"context": {"territory": written}})


@pytest.mark.parametrize("written, code", [("de", "DE"), (" eu ", "EU"), ("US", "US"), ("", "")])
def test_codes_are_understood_in_any_case(written: str, code: str) -> None:
    assert Context.from_mapping({"territory": written}).territory == code


def test_somewhere_in_the_eu_may_be_in_any_member_state() -> None:
    assert Context(territory="EU").within("DE") is None
    assert Context(territory="EU").within("EU") is True
    assert Context(territory="DE").within("FR") is False


@pytest.mark.parametrize("written, near", [("militarry", "military"), ("weapon", "weapons"), ("retail", "")])
def test_a_field_that_no_record_speaks_of_is_refused(written: str, near: str) -> None:
    with pytest.raises(InvalidInput, match="expected one of") as error:
        Context.from_mapping({"sector": written})
    assert near in str(error.value.fix)


@pytest.mark.parametrize("written", ["Military", "MILITARY", " military "])
def test_a_field_is_understood_in_any_case(written: str) -> None:
    lineage = Lineage()
    lineage.backbone("llama", tag="llama3.1")

    assert ask(lineage, "llama", Context.from_mapping({"sector": written})).value == "deny"


@pytest.mark.parametrize("refused, tag", [("llama3.1", "llama3.1"), ("Apache 2.0", "apache-2.0"), ("gpl", "gpl-3.0")])
def test_a_refused_licence_may_be_written_as_hubs_write_it(refused: str, tag: str) -> None:
    lineage = Lineage()
    lineage.backbone("bert", tag=tag)
    policy = Policy.from_mapping({"refuse": {"licences": [refused]}})

    assert ask(lineage, "bert", Context(purpose="research"), policy).value == "deny"


def test_a_refused_family_denies_what_only_names_the_family() -> None:
    lineage = Lineage()
    lineage.backbone("some", tag="llama")
    policy = Policy.from_mapping({"refuse": {"licences": ["llama"]}})

    assert ask(lineage, "some", policy=policy).value == "deny"
    assert ask(lineage, "some").value == "unknown"


def test_a_licence_without_a_record_can_be_refused() -> None:
    lineage = Lineage()
    lineage.backbone("server")
    lineage.says("server", "SSPL-1.0")
    policy = Policy.from_mapping({"refuse": {"licences": ["SSPL-1.0"]}})

    assert ask(lineage, "server").value == "unknown"
    assert ask(lineage, "server", policy=policy).value == "deny"


@pytest.mark.parametrize("written", ["lama3.1", "see LICENSE", ""])
def test_refusing_what_is_no_licence_is_an_error(written: str) -> None:
    with pytest.raises(InvalidInput, match="which is no licence"):
        Policy.from_mapping({"refuse": {"licences": [written]}})
    with pytest.raises(InvalidInput, match="expected a list"):
        Policy.from_mapping({"refuse": {"licences": "MIT"}})


# ---------------------------------------------------------------------------------------------- data
@pytest.mark.parametrize("data, child", [("cc-by-sa-4.0", "cc-by-nc-4.0"), ("cc-by-nd-4.0", "mit")])
def test_who_lets_data_bind_weights_may_not_share_against_its_terms(data: str, child: str) -> None:
    """Share-alike data under a non-commercial child, and data that allows no changed forms."""
    lineage = Lineage()
    lineage.backbone("child", tag=child)
    lineage.dataset("corpus", tag=data)
    lineage.edge("child", "trained_on", "corpus")
    inherit = POLICY.with_stances(training_data="inherit-all")

    verdict = ask(lineage, "child", SHARED, inherit)

    assert verdict.value == "deny"
    assert "stance heads" not in " ".join(str(node) for node in verdict.proof["of"])
    assert ask(lineage, "child", SHARED).value == "allow"


def test_a_contested_change_names_the_stance_that_settles_it() -> None:
    lineage = Lineage()
    lineage.backbone("teacher", tag="cc-by-nd-4.0")
    lineage.backbone("student", tag="mit")
    lineage.edge("student", "distilled_from", "teacher")

    assert "stance silence" in ask(lineage, "student", SHARED).reason


# ---------------------------------------------------------------------------------------------- relicensing
@pytest.mark.parametrize("relation", ["initialised_from", "merged_from", "pruned_from"])
def test_a_child_that_began_with_another_s_weights_cannot_shed_their_terms(relation: str) -> None:
    lineage = Lineage()
    lineage.backbone("llama", tag="llama3")
    lineage.backbone("washed", tag="apache-2.0")
    lineage.edge("washed", relation, "llama")

    assert "relicensed" in {finding.kind for finding in ask(lineage, "washed").findings}


def test_a_variant_that_was_converted_here_has_the_terms_of_what_it_is_a_variant_of() -> None:
    lineage = Lineage()
    lineage.backbone("plain", tag="apache-2.0")
    lineage.backbone("half")
    lineage.edge("half", "converted_from", "plain")
    made = Evidence(lineage["half"], MADE_HERE, "true", "operator", "headstock variant fp16")

    def value() -> str:
        facts = lineage.facts()
        facts = replace(facts, statements={**facts.statements, lineage["half"]: (made,)})
        return judge(facts, lineage["half"], COMMERCIAL, POLICY).value

    assert value() == "allow"
    lineage.conclude("plain", "CC-BY-NC-4.0")
    assert value() == "deny"


def test_a_claim_to_be_made_here_frees_nothing_that_came_from_a_source() -> None:
    lineage = Lineage()
    lineage.backbone("pulled")
    lineage.source("repository", "hf:someone/else")
    lineage.edge("pulled", "converted_from", "repository")
    facts = lineage.facts()
    claimed = Evidence(lineage["pulled"], MADE_HERE, "true", "fine-tune", "fine-tune")
    facts = replace(facts, statements={lineage["pulled"]: (claimed,)})

    assert judge(facts, lineage["pulled"], COMMERCIAL, POLICY).value == "unknown"
