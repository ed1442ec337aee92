"""The licence, notice and audit commands on a real catalogue: what they print, and with which exit code they end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from headstock.catalogue import Catalogue
from headstock.cli.main import main
from headstock.digest import Digest
from headstock.errors import Corrupt
from headstock.licences import Context, Policy, verdict, verdicts
from headstock.licences.decisions import conclude
from headstock.licences.proof import replay
from headstock.records import Artefact, Edge, Evidence, Publication, artefact_of
from headstock.settings import Settings
from headstock.testing.hub import LocalHub, Repository
from headstock.testing.publications import backbone_publication, model_publication

TEXT = "Permission is hereby granted to whoever reads this.\nCopyright Ada\n"


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


def listed(settings: Settings) -> tuple[str, ...]:
    """What a list in a process of its own imports of all that judges."""
    code = (
        "import sys; sys.argv = ['headstock', 'list']\n"
        "from headstock.cli.main import main\n"
        "judging = {'headstock.licences.prover', 'headstock.licences.terms'}\n"
        "try:\n    main()\n"
        "finally:\n    print(sorted(judging & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return tuple(done.stdout.splitlines())


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("HEADSTOCK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HEADSTOCK_ACTOR", "ada")
    return Settings.from_environment()


@pytest.fixture
def catalogue(settings: Settings) -> Iterator[Catalogue]:
    with Catalogue.open(settings) as opened:
        yield opened


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["headstock", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), captured.out, captured.err)

    return command


def publish_backbone(
    catalogue: Catalogue, name: str, *licences: tuple[str, str], seed: int = 0, text: str = ""
) -> Digest:
    """A backbone with statements, and a licence text of its own if given."""
    publication = backbone_publication(catalogue.store, name, seed=seed, family=f"family{seed}", licences=licences)
    if text:
        blob = catalogue.store.put_bytes(text.encode())
        artefacts = [
            replace(a, files={**a.files, "licence": blob}) if a.kind == "backbone" else a for a in publication.artefacts
        ]
        publication = replace(publication, artefacts=artefacts)
    return catalogue.publish(publication).subject


def add(catalogue: Catalogue, onto: str, artefacts: list[Artefact], *more: Edge | Evidence) -> None:
    """Add lineage or evidence to what an entry's newest version stands for."""
    version = catalogue.newest(onto)
    catalogue.publish(
        Publication(
            name=onto,
            kind=version.kind,
            subject=version.subject,
            artefacts=artefacts,
            edges=[m for m in more if isinstance(m, Edge)],
            evidence=[m for m in more if isinstance(m, Evidence)],
        )
    )


@pytest.fixture
def filled(catalogue: Catalogue) -> Catalogue:
    """An NC backbone with a model on it, and an Apache one with another."""
    nc = publish_backbone(catalogue, "dino", ("CC-BY-NC-4.0", "hub-tag"), seed=1)
    free = publish_backbone(catalogue, "bert", ("Apache-2.0", "card"), ("MIT", "licence-file"), seed=2, text=TEXT)
    catalogue.publish(model_publication(catalogue.store, "flowers", nc, seed=1))
    catalogue.publish(model_publication(catalogue.store, "intents", free, seed=2))
    return catalogue


# ---------------------------------------------------------------------------------------------- why
def test_why_prints_the_verdict_the_tree_and_the_proof_id(filled: Catalogue, run: Run) -> None:
    done = run("licence", "why", "flowers", "--purpose", "commercial", "--audience", "public")

    assert done.code == 1
    lines = done.out.splitlines()
    assert lines[0] == "flowers: serve for commercial use to public"
    assert lines[1] == ("deny (refuse): backbone family1: CC-BY-NC-4.0: non-commercial, and the purpose is commercial")
    assert "deny       composed_of backbone family1: CC-BY-NC-4.0" in lines
    assert "             because CC-BY-NC-4.0: non-commercial, and the purpose is commercial" in lines
    assert lines[-1].startswith("proof sha256:")


def test_why_allows_research_and_warns_of_what_is_contested(filled: Catalogue, run: Run) -> None:
    assert run("licence", "why", "flowers", "--purpose", "research").code == 0
    warned = run("licence", "why", "flowers", "--purpose", "internal")
    assert (warned.code, "unknown (warn)" in warned.out) == (0, True)


def test_why_as_json_holds_a_proof_that_replays(filled: Catalogue, run: Run) -> None:
    (record,) = json.loads(run("licence", "why", "intents", "--act", "distribute", "--format", "json").out)

    assert record["value"] == "allow"
    assert replay(record["proof"]) == "allow"
    assert {duty["licence"] for duty in record["duties"]} == {"Apache-2.0", "MIT"}


def test_why_follows_the_policy_file_of_the_installation(filled: Catalogue, run: Run, settings: Settings) -> None:
    assert run("licence", "why", "flowers", "--format", "quiet").out == "unknown\n"
    (settings.home / "policy.toml").write_text('[stances]\ninternal_use = "non-commercial"\n')
    assert run("licence", "why", "flowers", "--format", "quiet").out == "allow\n"
    (settings.home / "policy.toml").write_text('[stances]\ninternal_use = "perhaps"\n')
    refused = run("licence", "why", "flowers")
    assert (refused.code, "stance internal_use is 'perhaps'" in refused.err) == (2, True)


def test_why_checks_the_name_under_which_it_is_to_be_published(catalogue: Catalogue, run: Run) -> None:
    llama = publish_backbone(catalogue, "base", ("LicenseRef-headstock-llama-3.1", "card"), seed=3)
    catalogue.publish(model_publication(catalogue.store, "intents", llama, seed=3))
    use = ("--purpose", "commercial", "--audience", "public")

    refused = run("licence", "why", "intents", *use, "--name-as", "intents")

    assert (refused.code, "begins with 'Llama'; found 'intents'" in refused.err) == (1, True)
    assert run("licence", "why", "intents", *use, "--name-as", "llama-intents").code == 0


# ---------------------------------------------------------------------------------------------- conclude
def test_a_decision_counts_is_in_the_audit_log_and_can_be_withdrawn(catalogue: Catalogue, run: Run) -> None:
    publish_backbone(catalogue, "clip", ("MIT", "code"), ("Apache-2.0", "card"))
    assert "conflict: backbone family0: sources declare" in run("licence", "why", "clip").out

    done = run("licence", "conclude", "clip", "--as", "mit", "--reason", "the publisher says so in issue 7")

    assert done.out == f"backbone family0: concluded MIT (audit event {catalogue.events(1)[0].id})\n"
    event = catalogue.events(1)[0]
    assert (event.action, event.actor) == ("conclude", "ada")
    assert event.detail == {"expression": "MIT", "reason": "the publisher says so in issue 7"}
    page = run("licence", "why", "clip").out
    assert "allow (allow)" in page
    assert "concluded by ada at" in page
    assert run("licence", "conclude", "clip", "--withdraw", "--reason", "was wrong").code == 0
    assert "allow (warn)" in run("licence", "why", "clip").out
    assert run("licence", "conclude", "clip", "--withdraw", "--reason", "again").code == 1
    assert run("audit", "verify").code == 0


@pytest.mark.parametrize(
    "licence, said",
    [
        ("gemma", "names a family"),
        ("llama-5", "did you mean LicenseRef-headstock-llama"),
        ("Beerware", "there is no licence record 'Beerware'"),
    ],
)
def test_only_a_licence_with_a_record_can_be_concluded(filled: Catalogue, run: Run, licence: str, said: str) -> None:
    before = filled.events(1)[0].id
    done = run("licence", "conclude", "bert", "--as", licence, "--reason", "x")

    assert done.code in (1, 2)
    assert said in done.err
    assert filled.events(1)[0].id == before


def test_a_decision_needs_a_reason(filled: Catalogue, run: Run) -> None:
    assert run("licence", "conclude", "bert", "--as", "MIT", "--reason", " ").code == 2
    assert run("licence", "conclude", "bert", "--reason", "x").code == 2


def test_a_model_s_training_data_is_concluded_through_the_model(filled: Catalogue, run: Run) -> None:
    done = run("licence", "conclude", "intents", "--part", "dataset", "--as", "cc-by-nc-4.0", "--reason", "site")

    assert done.out.startswith("dataset tickets.csv: concluded CC-BY-NC-4.0")
    page = run("licence", "why", "intents", "--purpose", "commercial").out
    assert "training-data: dataset tickets.csv" in page


def test_a_changed_decision_is_noticed_before_it_counts(filled: Catalogue, settings: Settings) -> None:
    subject = filled.newest("dino").subject
    conclude(filled, subject, "CC-BY-NC-4.0", "read it")
    engine = sa.create_engine(settings.catalogue_url)
    with engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE events SET detail = replace(detail, 'CC-BY-NC-4.0', 'MIT') WHERE action = 'conclude'")
        )
    engine.dispose()

    with pytest.raises(Corrupt, match="the decision in audit event"):
        verdict(filled, subject)


def test_audit_verify_finds_a_changed_event(filled: Catalogue, run: Run, settings: Settings) -> None:
    assert run("audit", "verify").out.startswith("whole: 4 events, head sha256:")
    engine = sa.create_engine(settings.catalogue_url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE events SET actor = 'mallory' WHERE id = 2"))
    engine.dispose()

    done = run("audit", "verify")

    assert done.code == 1
    assert "audit: event 2 was changed after it was written" in done.out


def test_audit_log_lists_what_happened(filled: Catalogue, run: Run) -> None:
    run("licence", "conclude", "dino", "--as", "CC-BY-NC-4.0", "--reason", "read it")

    newest = json.loads(run("audit", "log", "--limit", "1", "--format", "json").out)[0]

    assert (newest["action"], newest["detail"]["reason"]) == ("conclude", "read it")
    assert "conclude" in run("audit", "log").out


# ---------------------------------------------------------------------------------------------- compare
def test_diff_policy_lists_what_another_policy_would_change(filled: Catalogue, run: Run, tmp_path: Path) -> None:
    strict = tmp_path / "strict.toml"
    strict.write_text('[context]\npurpose = "commercial"\n')

    done = json.loads(run("licence", "diff-policy", "default", str(strict), "--format", "json").out)

    assert {c["version"]: (c["before"], c["after"], c["direction"]) for c in done} == {
        "dino:1": ("unknown", "deny", "worse"),
        "flowers:1": ("unknown", "deny", "worse"),
    }
    assert "nothing changes" in run("licence", "diff-policy", "default", "current").err


def test_affects_lists_every_version_on_a_backbone_and_what_if_it_were_relicensed(filled: Catalogue, run: Run) -> None:
    use = ("--purpose", "commercial", "--format", "json")

    now = json.loads(run("licence", "affects", "dino", *use).out)
    freed = json.loads(run("licence", "affects", "dino", "--as", "Apache-2.0", *use).out)

    assert [(c["version"], c["before"], c["after"]) for c in now] == [
        ("dino:1", "deny", "deny"),
        ("flowers:1", "deny", "deny"),
    ]
    assert [(c["version"], c["after"], c["direction"]) for c in freed] == [
        ("dino:1", "allow", "better"),
        ("flowers:1", "allow", "better"),
    ]


def test_outbound_says_under_what_a_version_may_be_shared(filled: Catalogue, run: Run) -> None:
    assert "may be shared under CC-BY-NC-4.0" in run("licence", "outbound", "flowers").out
    assert "any licence that keeps the notices" in run("licence", "outbound", "intents").out


def test_alternatives_have_the_same_interface_and_allow_the_use(filled: Catalogue, run: Run) -> None:
    found = run("licence", "alternatives", "flowers", "--purpose", "commercial", "--format", "quiet")

    assert found.out.split() == ["bert:1"]


def test_records_are_listed_and_shown(run: Run) -> None:
    assert "LicenseRef-headstock-llama-3.2" in run("licence", "list", "--format", "quiet").out.split()
    assert json.loads(run("licence", "show", "llama3.2").out)["outbound"]["mode"] == "keep"
    assert "may mean" in run("licence", "show", "gpl").err


# ---------------------------------------------------------------------------------------------- notice
def test_notice_is_byte_stable_and_holds_the_texts_that_came_along(filled: Catalogue, run: Run) -> None:
    first, second = run("notice", "intents").out, run("notice", "intents").out

    assert first == second
    assert "Permission is hereby granted to whoever reads this.\nCopyright Ada\n" in first
    assert "  declared:  Apache-2.0 / MIT\n" in first
    assert "  concluded: NOASSERTION\n" in first
    assert "card at hf:org/family2@" in first
    assert str(filled.settings.home) not in first


def test_notice_is_complete_over_the_lineage(filled: Catalogue, run: Run) -> None:
    """A grandparent by fine-tuning, a tokenizer's owner, data of a parent: all are in it; benchmarks are not."""
    backbone = filled.newest("bert").subject
    names = {
        "finetuned_from": "grandparent",
        "uses_tokenizer_of": "tokens",
        "trained_on": "corpus",
        "evaluated_on": "benchmark",
    }
    artefacts = {
        relation: artefact_of("source" if "_on" not in relation else "dataset", {"kind": "x", "name": name})
        for relation, name in names.items()
    }
    edges = [Edge(backbone, r, a.digest) for r, a in artefacts.items()]  # type: ignore[arg-type]
    statements = [Evidence(a.digest, "licence", "BSD-3-Clause", "card", "hf:org/x@1") for a in artefacts.values()]
    add(filled, "bert", list(artefacts.values()), *edges, *statements)

    document = run("notice", "intents").out

    for relation, name in names.items():
        assert (artefacts[relation].digest in document) is (name != "benchmark")
    assert "Licences whose text did not come with the artefact" in document
    assert "BSD-3-Clause: https://spdx.org/licenses/BSD-3-Clause.html" in document


def test_notice_of_what_nobody_licensed_says_so(catalogue: Catalogue, run: Run, tmp_path: Path) -> None:
    publish_backbone(catalogue, "mystery")

    run("notice", "mystery", "--out", str(tmp_path / "NOTICE"))

    assert "NOASSERTION: no source states a licence of backbone family0" in (tmp_path / "NOTICE").read_text()


# ---------------------------------------------------------------------------------------------- the gate's door
def test_the_gate_asks_by_digest_and_gets_one_bit_a_reason_and_a_proof_id(filled: Catalogue) -> None:
    commercial = Context(purpose="commercial", audience="public")
    flowers, intents = (filled.newest(name).subject for name in ("flowers", "intents"))

    found = verdicts(filled, [flowers, intents], commercial)

    assert (found[flowers].permitted, found[intents].permitted) == (False, True)
    assert found[flowers] == verdict(filled, flowers, commercial, Policy.default())
    assert found[flowers].proof_id.startswith("sha256:")
    assert verdict(filled, flowers, Context(purpose="research")).permitted


# ---------------------------------------------------------------------------------------------- drift
@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    with LocalHub() as local:
        monkeypatch.setenv("HF_ENDPOINT", local.url)
        yield local


@pytest.mark.parametrize(
    "pinned, tag, direction",
    [
        ("CC-BY-NC-4.0", "apache-2.0", "better"),
        ("MIT", "cc-by-nc-4.0", "worse"),
        ("MIT", "mit", "same"),
        ("MIT", "bsd-3-clause", "changed"),
        ("MIT", None, "worse"),
    ],
)
def test_drift_reports_a_changed_tag_and_changes_no_verdict(
    catalogue: Catalogue,
    run: Run,
    hub: LocalHub,
    tmp_path: Path,
    pinned: str,
    tag: str | None,
    direction: str,
) -> None:
    publish_backbone(catalogue, "dino", (pinned, "hub-tag"), seed=1)
    hub.repositories["org/family1"] = Repository(tmp_path, card_data={"license": tag} if tag else {})
    before = (verdict(catalogue, catalogue.newest("dino").subject), catalogue.generation())

    (found,) = json.loads(run("licence", "drift", "dino", "--format", "json").out)

    assert (found["direction"], found["pinned"]) == (direction, pinned)
    assert (verdict(catalogue, catalogue.newest("dino").subject), catalogue.generation()) == before


def test_an_accepted_drift_changes_the_verdict(catalogue: Catalogue, run: Run, hub: LocalHub, tmp_path: Path) -> None:
    publish_backbone(catalogue, "dino", ("CC-BY-NC-4.0", "hub-tag"), seed=1)
    hub.repositories["org/family1"] = Repository(tmp_path, card_data={"license": "apache-2.0"})
    commercial = ("licence", "why", "dino", "--purpose", "commercial", "--format", "quiet")
    assert run(*commercial).out == "deny\n"
    (found,) = json.loads(run("licence", "drift", "--format", "json").out)
    assert run(*commercial).out == "deny\n"

    assert found["accept"].startswith("headstock licence conclude dino:1 --as 'Apache-2.0'")
    run("licence", "conclude", "dino:1", "--as", found["now"], "--reason", "relicensed")

    assert run(*commercial).out == "allow\n"


def test_a_hub_that_does_not_answer_is_reported_not_raised(
    catalogue: Catalogue, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalHub() as silent:
        monkeypatch.setenv("HF_ENDPOINT", silent.url)
    publish_backbone(catalogue, "dino", ("MIT", "hub-tag"), seed=1)

    done = run("licence", "drift", "--format", "json")

    assert (done.code, json.loads(done.out)[0]["direction"]) == (0, "unreachable")


# ---------------------------------------------------------------------------------------------- scopes
def test_show_and_why_say_what_a_licence_is_of_and_keep_code_apart(filled: Catalogue, run: Run) -> None:
    """Weights and code are two questions."""
    head = Digest(filled.artefact(filled.newest("intents").subject).identity["head"])
    plugin = artefact_of("plugin", {"kind": "plugin", "distribution": "acme", "version": "1"})
    bert = filled.newest("bert").subject
    add(
        filled,
        "intents",
        [plugin],
        Edge(head, "built_by_plugin", plugin.digest),
        Evidence(
            plugin.digest, "licence", "AGPL-3.0-only", "package-metadata", "distribution:acme@1/METADATA", "", "code"
        ),
        Evidence(bert, "licence", "Apache-2.0", "hub-tag", "hf:org/bert@1", "apache-2.0", "weights"),
    )

    shown, why = run("show", "intents").out, run("licence", "why", "intents").out

    assert "AGPL-3.0-only" in shown
    assert "package-metadata, about the code of plugin acme" in shown
    assert "hub-tag, about the weights of backbone family2" in shown
    assert "card, about backbone family2" in shown
    lines = why.splitlines()
    assert "allow      composed_of backbone family2: Apache-2.0 / MIT [weights]" in lines
    assert "allow    beside the verdict, the code of plugin acme: AGPL-3.0-only [code]" in lines
    assert "AGPL" not in why.partition("Duties")[2]


# ---------------------------------------------------------------------------------------------- the next list
def test_the_list_after_a_decision_judges_nothing_and_shows_it(
    catalogue: Catalogue, settings: Settings, run: Run
) -> None:
    """The command that decided has judged already, for the use of the policy and for what was asked before."""
    catalogue.publish(backbone_publication(catalogue.store, "dino", licences=[("CC-BY-NC-4.0", "hub-tag")]))
    assert "dino" not in run("list", "--may", "commercial").out

    run("licence", "conclude", "dino", "--as", "MIT", "--reason", "relicensed")

    assert [line.split()[0] for line in listed(settings)[1:-1]] == ["dino"]
    assert "allow" in listed(settings)[1]
    assert listed(settings)[-1] == "[]"
    assert "dino" in run("list", "--may", "commercial").out
    kept = settings.cache / "verdicts-commercial.json"
    before = kept.read_bytes()
    run("licence", "conclude", "dino", "--as", "CC-BY-NC-4.0", "--reason", "it was not")
    assert kept.read_bytes() != before


def test_a_command_does_not_fail_for_a_policy_that_nobody_asked_it_about(
    catalogue: Catalogue, settings: Settings, run: Run
) -> None:
    """The list says it."""
    catalogue.publish(backbone_publication(catalogue.store, "dino"))
    (settings.home / "policy.toml").write_text("purpose: commercial")

    assert run("licence", "list").code == 0
    assert run("remove", "dino", "--yes").code == 0
