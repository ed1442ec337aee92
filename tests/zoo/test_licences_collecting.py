"""Evidence that is collected with licences in mind: texts by their words, plugins' statements, the verdict column."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from headstock.catalogue import Catalogue
from headstock.catalogue.listing import Query
from headstock.digest import Digest
from headstock.hookspecs import LicenceRecord
from headstock.licences import Context, Policy
from headstock.licences.column import verdict_column
from headstock.licences.composition import judge_many
from headstock.licences.decisions import conclude
from headstock.licences.facts import Facts
from headstock.licences.plugin_statements import plugin_statements
from headstock.licences.statements import declared
from headstock.licences.texts import recognise_words
from headstock.records import Evidence
from headstock.settings import Settings
from headstock.sources.evidence import licence_file_statements, licence_statement
from headstock.testing.publications import backbone_publication, model_publication

COMMON = Path("/usr/share/common-licenses")
SUBJECT = Digest("sha256:" + "1" * 64)

needs_texts = pytest.mark.skipif(not (COMMON / "GPL-3").is_file(), reason="no /usr/share/common-licenses here")


# ---------------------------------------------------------------------------------------------- texts
@needs_texts
@pytest.mark.parametrize(
    "name, expected",
    [
        ("MPL-2.0", "MPL-2.0"),
        ("CC0-1.0", "CC0-1.0"),
        ("GPL-3", "GPL-3.0-only OR GPL-3.0-or-later"),
        ("LGPL-2.1", "LGPL-2.1-only OR LGPL-2.1-or-later"),
    ],
)
def test_a_text_is_recognised_by_its_words_whatever_its_layout(name: str, expected: str) -> None:
    text = (COMMON / name).read_text(errors="replace")

    assert recognise_words(text) == expected
    assert recognise_words("\n\n".join(text.upper().split("\n"))) == expected
    assert recognise_words(text + " and one more word") == ""


@needs_texts
def test_the_gpl_s_text_beside_a_tag_that_names_its_version_is_no_conflict(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text((COMMON / "GPL-3").read_text())
    (said,) = licence_file_statements(tmp_path / "LICENSE", "path:x/LICENSE")
    text = said.about(SUBJECT)
    tag = licence_statement("gpl-3.0", "hub-tag", "hf:o/n@1").about(SUBJECT)

    together = declared([text, tag])

    assert (together.text, together.findings) == ("GPL-3.0-only", ())


def test_a_text_beside_a_tag_whose_text_no_record_knows_does_not_contradict_it_but_warns() -> None:
    tag = licence_statement("apple-amlr", "hub-tag", "hf:o/n@1").about(SUBJECT)
    text = Evidence(SUBJECT, "licence", "NOASSERTION", "licence-file", "hf:o/n@1/LICENSE", "Disclaimer: IMPORTANT")

    together = declared([text, tag])

    assert together.text == "LicenseRef-headstock-apple-amlr"
    assert [(f.kind, f.warn) for f in together.findings] == [("text-not-compared", True)]


def test_a_licence_name_beside_other_is_read() -> None:
    beside = {"license_name": "llama3.3", "license_link": "LICENSE"}
    card = licence_statement("other", "card", "hf:o/n@1", beside).about(SUBJECT)

    assert declared([card]).text == "LicenseRef-headstock-llama-3.3"


# ---------------------------------------------------------------------------------------------- plugins
def test_a_plugin_adds_a_statement_about_its_source_and_concludes_nothing() -> None:
    records = [
        LicenceRecord("hf:timm/resnet50.a1", "apache-2.0", "https://example.org/cards"),
        LicenceRecord("hf:timm/resnet50.ssl", "cc-by-nc-4.0", "https://example.org/cards"),
        LicenceRecord("hf:timm/resnet50.ssl", "ask us", "https://example.org/mail"),
    ]

    found = plugin_statements(records, "hf:timm/resnet50.ssl@0123")

    assert [(s.field, s.value, s.source) for s in found] == [
        ("licence", "CC-BY-NC-4.0", "manifest"),
        ("licence", "NOASSERTION", "manifest"),
    ]
    assert found[1].raw == "ask us"


# ---------------------------------------------------------------------------------------------- the column
@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("HEADSTOCK_HOME", str(tmp_path / "home"))
    return Settings.from_environment()


@pytest.fixture
def catalogue(settings: Settings) -> Iterator[Catalogue]:
    with Catalogue.open(settings) as opened:
        nc = backbone_publication(opened.store, "dino", licences=[("CC-BY-NC-4.0", "hub-tag")])
        opened.publish(nc)
        opened.publish(model_publication(opened.store, "flowers", nc.subject))
        yield opened


@contextmanager
def counted(catalogue: Catalogue) -> Iterator[tuple[Query, list[str]]]:
    """A query that remembers what it was asked."""
    asked: list[str] = []
    with catalogue.snapshot() as query:

        def remember(sql: str) -> object:
            asked.append(sql)
            return query(sql)

        yield remember, asked  # type: ignore[misc]


def column(catalogue: Catalogue, purpose: str = "") -> tuple[dict[str, str], int]:
    """Values by name, and how many queries that took."""
    with counted(catalogue) as (query, asked):
        values = verdict_column(catalogue.settings, query, purpose)
    return {v.name: values[v.subject] for v in catalogue.versions()}, len(asked)


def test_the_column_is_remembered_until_something_changes(catalogue: Catalogue) -> None:
    first, work = column(catalogue)
    again, little = column(catalogue)

    assert first == again == {"dino": "unknown", "flowers": "unknown"}
    assert little == 1 < work
    assert column(catalogue, "commercial")[0] == {"dino": "deny", "flowers": "deny"}
    assert column(catalogue, "research")[0] == {"dino": "allow", "flowers": "allow"}


def test_a_decision_or_another_policy_makes_the_column_anew(catalogue: Catalogue) -> None:
    column(catalogue)
    conclude(catalogue, catalogue.newest("dino").subject, "MIT", "relicensed")
    assert column(catalogue)[0] == {"dino": "allow", "flowers": "allow"}

    (catalogue.settings.home / "policy.toml").write_text('[refuse]\nlicences = ["MIT"]\n')
    assert column(catalogue)[0] == {"dino": "deny", "flowers": "deny"}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"key": 1}'])
def test_a_broken_cache_file_is_made_anew(catalogue: Catalogue, content: bytes) -> None:
    column(catalogue)
    (catalogue.settings.cache / "verdicts-policy.json").write_bytes(content)

    assert column(catalogue)[0]["dino"] == "unknown"
    assert json.loads((catalogue.settings.cache / "verdicts-policy.json").read_bytes())["key"]


def test_a_remembered_column_imports_nothing_that_judges(catalogue: Catalogue) -> None:
    column(catalogue)
    code = (
        "import sys\n"
        "from headstock.catalogue.listing import _open_sqlite\n"
        "from headstock.licences.column import verdict_column\n"
        "from headstock.settings import Settings\n"
        "settings = Settings.from_environment()\n"
        "assert verdict_column(settings, _open_sqlite(settings.sqlite_path).execute)\n"
        "judging = {'headstock.licences.prover', 'headstock.licences.library', 'sqlalchemy', 'tomllib'}\n"
        "assert not judging & set(sys.modules), judging & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# ---------------------------------------------------------------------------------------------- many models
def test_ten_thousand_models_are_judged_on_one_snapshot() -> None:
    """What a server does when the policy changes: a hundred heads on each of a hundred backbones, proofs and all."""
    artefacts: dict[str, dict[str, object]] = {}
    edges: list[tuple[str, str, str]] = []
    licences = ("Apache-2.0", "MIT", "CC-BY-NC-4.0", "LicenseRef-headstock-llama-3.2")
    statements = []
    for number in range(100):
        artefacts[f"b{number}"] = {"kind": "backbone", "family": "f", "inputs": [{"name": "input_ids"}]}
        statements.append(Evidence(Digest(f"b{number}"), "licence", licences[number % 4], "card", "hf:o/n@c"))
    for number in range(10_000):
        backbone = f"b{number % 100}"
        artefacts[f"h{number}"] = {"kind": "head", "type": "t", "backbone": backbone}
        artefacts[f"m{number}"] = {
            "kind": "model",
            "backbone": backbone,
            "head": f"h{number}",
            "adapter": None,
        }
        edges.append((f"h{number}", "head_on", backbone))
    facts = Facts.build(artefacts, edges, statements)
    policy = replace(Policy.default(), context=Context(purpose="commercial", audience="public"))
    subjects = [Digest(f"m{number}") for number in range(10_000)]
    found = judge_many(facts, subjects, policy.context, policy)

    assert sum(not verdict.permitted for verdict in found.values()) == 2500
