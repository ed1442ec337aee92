"""The catalogue: immutable versions, movable aliases, lineage, an audit log, and a database that migrates safely."""

from __future__ import annotations

import importlib
import json
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from headstock.catalogue import Catalogue, database, schema
from headstock.catalogue.revision import HEAD
from headstock.digest import canonical_json, digest_bytes, digest_json
from headstock.errors import (
    AlreadyExists,
    Corrupt,
    DigestMismatch,
    FailedPrecondition,
    InvalidInput,
    NotFound,
)
from headstock.names import Reference
from headstock.records import (
    Artefact,
    Edge,
    Evidence,
    HeadIdentity,
    ModelIdentity,
    Publication,
    Version,
    artefact_of,
)
from headstock.settings import Settings
from headstock.testing.publications import backbone_publication, model_publication


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment({"HEADSTOCK_HOME": str(tmp_path / "home"), "HEADSTOCK_ACTOR": "ada"})


@pytest.fixture
def catalogue(settings: Settings) -> Iterator[Catalogue]:
    with Catalogue.open(settings) as opened:
        yield opened


def add_backbone(catalogue: Catalogue, name: str = "minilm", seed: int = 0) -> Version:
    return catalogue.publish(backbone_publication(catalogue.store, name, seed=seed))


def add_model(catalogue: Catalogue, name: str, backbone: Version, seed: int = 0) -> Version:
    return catalogue.publish(model_publication(catalogue.store, name, backbone.subject, seed=seed))


# ---------------------------------------------------------------------------------------------- publish
def test_everything_published_is_read_back(catalogue: Catalogue) -> None:
    publication = backbone_publication(catalogue.store, "minilm")
    version = catalogue.publish(publication)

    assert (version.name, version.number, version.kind, str(version)) == ("minilm", 1, "backbone", "minilm:1")
    assert version.details == publication.details
    assert [catalogue.artefact(a.digest) for a in publication.artefacts] == list(publication.artefacts)
    assert catalogue.edges(child=version.subject) == list(publication.edges)
    assert catalogue.evidence(version.subject) == list(publication.evidence)
    assert catalogue.certificate(version.subject) == publication.certificates[0]


def test_versions_count_up_and_are_listed_newest_first(catalogue: Catalogue) -> None:
    numbers = [add_backbone(catalogue, seed=seed).number for seed in range(3)]
    other = add_backbone(catalogue, "bert", seed=9)
    add_model(catalogue, "intents", other)

    assert numbers == [1, 2, 3]
    assert [str(v) for v in catalogue.versions()] == [
        "bert:1",
        "intents:1",
        "minilm:3",
        "minilm:2",
        "minilm:1",
    ]
    assert [str(v) for v in catalogue.versions("minilm")] == ["minilm:3", "minilm:2", "minilm:1"]
    assert catalogue.names() == ["bert", "intents", "minilm"]
    assert catalogue.names("model") == ["intents"]
    assert catalogue.newest("minilm").number == 3


def test_publishing_the_newest_subject_again_adds_no_version_but_takes_new_evidence(
    catalogue: Catalogue,
) -> None:
    first = add_backbone(catalogue)
    again = backbone_publication(catalogue.store, "minilm", licences=[("Apache-2.0", "card"), ("MIT", "licence-file")])

    assert catalogue.publish(again) == first
    assert sorted(e.value for e in catalogue.evidence(first.subject)) == ["Apache-2.0", "MIT"]


def test_going_back_to_an_older_subject_is_a_new_version(catalogue: Catalogue) -> None:
    add_backbone(catalogue, seed=0)
    add_backbone(catalogue, seed=1)

    assert add_backbone(catalogue, seed=0).number == 3


def test_a_better_export_replaces_the_graph_of_a_backbone_and_shows_in_the_log(catalogue: Catalogue) -> None:
    publication = backbone_publication(catalogue.store, "minilm")
    version = catalogue.publish(publication)
    graph = catalogue.store.put_bytes(b"a faster graph of the same function")
    source, backbone = publication.artefacts
    better = replace(backbone, files={**backbone.files, "graph": graph})

    assert catalogue.publish(replace(publication, artefacts=[source, better])) == version
    assert catalogue.artefact(version.subject).files["graph"] == graph
    assert catalogue.events(1)[0].action == "refresh"


def test_a_model_keeps_the_recipe_it_was_made_with(catalogue: Catalogue) -> None:
    publication = model_publication(catalogue.store, "intents", add_backbone(catalogue).subject)
    version = catalogue.publish(publication)
    recipe = catalogue.artefact(version.subject).files["recipe"]
    *rest, model = publication.artefacts
    other = replace(model, files={**model.files, "recipe": catalogue.store.put_json({"seed": 99})})

    catalogue.publish(replace(publication, name="same-model", artefacts=[*rest, other]))

    assert catalogue.artefact(version.subject).files["recipe"] == recipe


def test_a_name_holds_one_kind(catalogue: Catalogue) -> None:
    backbone = add_backbone(catalogue)

    with pytest.raises(AlreadyExists, match="'minilm' is a backbone and cannot hold a model"):
        add_model(catalogue, "minilm", backbone)


@pytest.mark.parametrize("name", ["../x", "CON", "con", "", ".", "a" * 65, "Minilm", "mini lm", "minï", "a..b"])
def test_a_bad_name_is_refused(catalogue: Catalogue, name: str) -> None:
    with pytest.raises(InvalidInput, match="is not allowed"):
        add_backbone(catalogue, name)


def test_an_identity_that_does_not_hash_to_its_digest_is_refused(catalogue: Catalogue) -> None:
    publication = backbone_publication(catalogue.store, "minilm")
    source, backbone = publication.artefacts
    forged = replace(backbone, identity={**backbone.identity, "family": "resnet"})

    with pytest.raises(Corrupt, match="hashes to"):
        catalogue.publish(replace(publication, artefacts=[source, forged]))
    assert catalogue.names() == []


def test_a_blob_that_is_not_stored_is_refused_by_role(catalogue: Catalogue) -> None:
    publication = backbone_publication(catalogue.store, "minilm")
    catalogue.store.delete(publication.artefacts[1].files["graph"])

    with pytest.raises(NotFound, match=r"the graph of backbone .* is not in the store"):
        catalogue.publish(publication)


def test_a_file_that_only_the_preprocessing_spec_names_must_be_stored_too(catalogue: Catalogue) -> None:
    publication = backbone_publication(catalogue.store, "minilm")
    source, backbone = publication.artefacts
    catalogue.store.delete(backbone.files["tokenizer"])
    unlisted = replace(backbone, files={r: b for r, b in backbone.files.items() if r != "tokenizer"})

    with pytest.raises(NotFound, match=r"the preprocess\.tokenizer of backbone .* is not in the store"):
        catalogue.publish(replace(publication, artefacts=[source, unlisted]))


def test_a_head_on_an_unknown_backbone_is_refused(catalogue: Catalogue) -> None:
    with pytest.raises(NotFound, match="neither published with it nor known"):
        catalogue.publish(model_publication(catalogue.store, "intents", digest_bytes(b"unknown")))


def test_a_head_on_another_backbone_than_it_was_trained_on_is_refused_with_both_digests(
    catalogue: Catalogue,
) -> None:
    first, second = add_backbone(catalogue, seed=1), add_backbone(catalogue, seed=2)
    publication = model_publication(catalogue.store, "intents", first.subject)
    head = publication.artefacts[1]
    swapped = artefact_of("model", ModelIdentity(second.subject, head.digest).to_json())

    with pytest.raises(DigestMismatch) as caught:
        catalogue.publish(replace(publication, subject=swapped.digest, artefacts=[*publication.artefacts, swapped]))
    assert first.subject in str(caught.value)
    assert second.subject in str(caught.value)


def test_a_model_may_reuse_a_head_that_the_catalogue_knows(catalogue: Catalogue) -> None:
    publication = model_publication(catalogue.store, "intents", add_backbone(catalogue).subject)
    catalogue.publish(publication)
    model = publication.artefacts[2]

    assert catalogue.publish(Publication("copy", "model", model.digest, [model])).subject == model.digest


@pytest.mark.parametrize("end", ["child", "parent"])
def test_an_edge_to_nowhere_is_refused(catalogue: Catalogue, end: str) -> None:
    publication = backbone_publication(catalogue.store, "minilm")
    nowhere, edge = digest_bytes(b"nowhere"), publication.edges[0]
    edge = replace(edge, child=nowhere) if end == "child" else replace(edge, parent=nowhere)

    with pytest.raises(NotFound, match=f"the {end} of a 'converted_from' edge"):
        catalogue.publish(replace(publication, edges=[edge]))


def test_an_unknown_relation_is_refused_with_the_known_ones(catalogue: Catalogue) -> None:
    publication = backbone_publication(catalogue.store, "minilm")
    edge = Edge(publication.edges[0].child, "inspired_by", publication.edges[0].parent)  # type: ignore[arg-type]

    with pytest.raises(InvalidInput, match=r"'inspired_by' is not a lineage relation.*finetuned_from"):
        catalogue.publish(replace(publication, edges=[edge]))


def test_a_head_alone_cannot_be_an_entry(catalogue: Catalogue) -> None:
    publication = model_publication(catalogue.store, "intents", add_backbone(catalogue).subject)

    with pytest.raises(InvalidInput, match=r"published as a model, but .* is a head"):
        catalogue.publish(replace(publication, subject=publication.artefacts[1].digest))


def test_a_refused_publication_leaves_no_trace(catalogue: Catalogue) -> None:
    add_backbone(catalogue)
    before, events = catalogue.generation(), catalogue.events()
    publication = backbone_publication(catalogue.store, "bert", seed=5)
    late = Evidence(digest_bytes(b"nothing"), "licence", "MIT", "card", "somewhere")

    with pytest.raises(NotFound):
        catalogue.publish(replace(publication, evidence=[late]))

    assert (catalogue.generation(), catalogue.events()) == (before, events)
    with pytest.raises(NotFound):
        catalogue.artefact(publication.subject)


def test_contradicting_statements_are_all_kept_and_long_ones_cut(catalogue: Catalogue) -> None:
    publication = backbone_publication(catalogue.store, "minilm")
    stated = [
        Evidence(publication.subject, "licence", "MIT", "licence-file", "hf:a/b/LICENSE", "x" * 500),
        Evidence(publication.subject, "licence", "Apache-2.0", "card", "hf:a/b/README.md"),
    ]
    version = catalogue.publish(replace(publication, evidence=stated))

    found = catalogue.evidence(version.subject)
    assert {e.value for e in found} == {"MIT", "Apache-2.0"}
    assert max(len(e.raw) for e in found) == 200


def test_records_survive_closing(settings: Settings) -> None:
    with Catalogue.open(settings) as first:
        version = add_backbone(first)
    with Catalogue.open(settings) as second:
        assert second.newest("minilm") == version
        assert second.artefact(version.subject).kind == "backbone"


# ---------------------------------------------------------------------------------------------- references
def test_a_reference_without_selector_means_production_then_newest(catalogue: Catalogue) -> None:
    for seed in range(3):
        add_backbone(catalogue, seed=seed)

    assert catalogue.version(Reference.parse("minilm")).number == 3
    catalogue.promote("minilm", 2)
    assert catalogue.version(Reference.parse("minilm")).number == 2
    assert catalogue.version(Reference.parse("minilm:1")).number == 1
    assert catalogue.version(Reference.parse("minilm:production")).number == 2


@pytest.mark.parametrize(
    "reference, message, fix",
    [
        ("minlm", "no entry 'minlm'; did you mean 'minilm'", "minilm"),
        ("zzz", "no entry 'zzz'; there are minilm", "headstock list"),
        ("minilm:7", "'minilm' has no version 7; it has 1, 2", "minilm:2"),
        (
            "minilm:canary",
            "'minilm' has no alias 'canary'; it has no aliases yet",
            "headstock promote minilm:2 canary",
        ),
    ],
)
def test_a_reference_to_nothing_says_what_there_is(
    catalogue: Catalogue, reference: str, message: str, fix: str
) -> None:
    add_backbone(catalogue, seed=0)
    add_backbone(catalogue, seed=1)

    with pytest.raises(NotFound, match=message) as caught:
        catalogue.version(Reference.parse(reference))
    assert fix in (caught.value.fix or "")


@pytest.mark.parametrize("selector", ["\u00b2", "\u0661", "9" * 19, "9" * 5000])
def test_a_selector_that_is_neither_a_number_nor_a_word_is_refused(selector: str) -> None:
    """Exponents and other scripts' digits are digits to Python, and no database holds the rest."""
    with pytest.raises(InvalidInput):
        Reference.parse(f"minilm:{selector}")


def test_a_mistyped_alias_is_recognised(catalogue: Catalogue) -> None:
    add_backbone(catalogue)
    catalogue.promote("minilm", 1)

    with pytest.raises(NotFound, match="its aliases are production") as caught:
        catalogue.version(Reference.parse("minilm:prodution"))
    assert caught.value.fix == "minilm:production"


# ---------------------------------------------------------------------------------------------- aliases
def test_aliases_move_and_every_move_is_remembered(catalogue: Catalogue) -> None:
    for seed in range(2):
        add_backbone(catalogue, seed=seed)

    catalogue.promote("minilm", 1, reason="first")
    change = catalogue.promote("minilm", 2, reason="better")
    catalogue.promote("minilm", 1, "canary")

    assert (change.number, change.previous, change.actor, change.reason) == (2, 1, "ada", "better")
    assert catalogue.aliases("minilm") == {"canary": 1, "production": 2}
    history = catalogue.alias_history("minilm", "production")
    assert [(c.previous, c.number, c.reason) for c in history] == [(None, 1, "first"), (1, 2, "better")]


def test_rollback_goes_back_step_by_step_and_never_forward(catalogue: Catalogue) -> None:
    for seed in range(3):
        add_backbone(catalogue, seed=seed)
        catalogue.promote("minilm", seed + 1)
    catalogue.promote("minilm", 3)  # promoting what is promoted is no step

    assert catalogue.rollback("minilm").number == 2
    assert catalogue.rollback("minilm").number == 1
    with pytest.raises(FailedPrecondition, match="no earlier target is left"):
        catalogue.rollback("minilm")
    assert [c.action for c in catalogue.alias_history("minilm", "production")] == ["promote"] * 4 + ["rollback"] * 2


def test_rollback_after_a_new_promotion_returns_to_what_was_served_before_it(catalogue: Catalogue) -> None:
    for seed in range(3):
        add_backbone(catalogue, seed=seed)
    for number in (1, 2):
        catalogue.promote("minilm", number)
    catalogue.rollback("minilm")
    catalogue.promote("minilm", 3)

    assert catalogue.rollback("minilm").number == 1


def test_rollback_skips_versions_that_were_removed(catalogue: Catalogue) -> None:
    for seed in range(3):
        add_backbone(catalogue, seed=seed)
        catalogue.promote("minilm", seed + 1)
    catalogue.remove("minilm", 2)

    assert catalogue.rollback("minilm").number == 1


def test_rolling_back_what_was_never_promoted_says_so(catalogue: Catalogue) -> None:
    add_backbone(catalogue)

    with pytest.raises(FailedPrecondition, match="has no alias 'canary' to roll back"):
        catalogue.rollback("minilm", "canary")
    with pytest.raises(NotFound, match="no entry 'nothing'"):
        catalogue.rollback("nothing")


def test_an_alias_is_a_word(catalogue: Catalogue) -> None:
    add_backbone(catalogue)

    with pytest.raises(InvalidInput, match="is a number"):
        catalogue.promote("minilm", 1, "3")


# ---------------------------------------------------------------------------------------------- remove
def test_numbers_are_never_given_twice(catalogue: Catalogue) -> None:
    add_backbone(catalogue, seed=0)
    add_backbone(catalogue, seed=1)
    catalogue.remove("minilm", 2)
    assert add_backbone(catalogue, seed=2).number == 3
    catalogue.remove("minilm")

    assert catalogue.names() == []
    assert add_backbone(catalogue, seed=0).number == 4


def test_a_version_with_an_alias_stays(catalogue: Catalogue) -> None:
    add_backbone(catalogue)
    catalogue.promote("minilm", 1)

    with pytest.raises(FailedPrecondition, match="alias 'production' points to it"):
        catalogue.remove("minilm", 1)
    assert catalogue.newest("minilm").number == 1


def test_removing_an_entry_takes_its_aliases_and_their_history_stays(catalogue: Catalogue) -> None:
    add_backbone(catalogue)
    catalogue.promote("minilm", 1)
    catalogue.remove("minilm", reason="not needed")

    assert catalogue.aliases("minilm") == {}
    last = catalogue.alias_history("minilm", "production")[-1]
    assert (last.action, last.number, last.previous, last.reason) == ("remove", None, 1, "not needed")


def test_a_backbone_that_models_stand_on_stays(catalogue: Catalogue) -> None:
    backbone = add_backbone(catalogue)
    add_model(catalogue, "intents", backbone)

    for number in (1, None):
        with pytest.raises(FailedPrecondition, match="cannot be removed: intents:1 stands on it"):
            catalogue.remove("minilm", number)
    catalogue.remove("intents")
    catalogue.remove("minilm")
    assert catalogue.names() == []


def test_an_emptied_name_may_take_the_other_kind(catalogue: Catalogue) -> None:
    backbone = add_backbone(catalogue)
    add_backbone(catalogue, "name", seed=1)
    catalogue.remove("name")

    assert add_model(catalogue, "name", backbone).number == 2


def test_removing_what_is_not_there_says_what_is(catalogue: Catalogue) -> None:
    add_backbone(catalogue)

    with pytest.raises(NotFound, match="has no version 2; it has 1"):
        catalogue.remove("minilm", 2)


# ---------------------------------------------------------------------------------------------- generation, events
def test_the_generation_grows_with_every_change_of_any_opener(catalogue: Catalogue, settings: Settings) -> None:
    with Catalogue.open(settings) as other:
        seen = [catalogue.generation()]
        add_backbone(other)
        seen.append(catalogue.generation())
        other.promote("minilm", 1)
        seen.append(catalogue.generation())
        other.remove("minilm")
        seen.append(catalogue.generation())
        with other.writing("quiet"), pytest.raises(NotFound):
            other.remove("minilm")
        seen.append(catalogue.generation())

    assert seen[:4] == sorted(set(seen[:4]))
    assert seen[4] == seen[3], "leases and failures change nothing that a reader sees"


def test_every_change_is_one_event_with_its_actor(catalogue: Catalogue) -> None:
    add_backbone(catalogue)
    catalogue.promote("minilm", 1, reason="ship it")
    catalogue.remove("minilm")

    events = catalogue.events()
    assert [(e.id, e.action, e.subject, e.actor) for e in events] == [
        (3, "remove", "minilm", "ada"),
        (2, "promote", "minilm:production", "ada"),
        (1, "publish", "minilm:1", "ada"),
    ]
    assert events[1].detail["reason"] == "ship it"
    assert [e.previous for e in events[:2]] == [e.hash for e in events[1:]]


# ---------------------------------------------------------------------------------------------- concurrency
PUBLISHER = """
import sys
from pathlib import Path
from headstock.catalogue import Catalogue
from headstock.settings import Settings
from headstock.testing.publications import backbone_publication

home, start, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": home})) as catalogue:
    print("ready", flush=True)
    sys.stdin.readline()
    for seed in range(start, start + count):
        with catalogue.writing("test"):
            print(catalogue.publish(backbone_publication(catalogue.store, "minilm", seed=seed)).number, flush=True)
"""


def test_processes_that_publish_one_name_at_once_get_every_number_once(settings: Settings) -> None:
    each = 12
    # None has created the database yet: they race for that, too.
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, str(settings.home), str(1000 * i), str(each)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    outputs = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        outputs.append([int(line) for line in output.split()])

    assert all(numbers == sorted(numbers) for numbers in outputs)
    assert sorted(outputs[0] + outputs[1]) == list(range(1, 2 * each + 1))
    with Catalogue.open(settings) as catalogue:
        assert {v.number for v in catalogue.versions("minilm")} == set(range(1, 2 * each + 1))
        assert catalogue.verify().clean


def test_threads_may_share_one_catalogue(catalogue: Catalogue) -> None:
    errors: list[BaseException] = []

    def work(start: int) -> None:
        try:
            for seed in range(start, start + 5):
                version = add_backbone(catalogue, seed=seed)
                assert catalogue.artefact(version.subject).files
                catalogue.promote("minilm", version.number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(100 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert len(catalogue.versions("minilm")) == 20
    history = catalogue.alias_history("minilm", "production")
    assert [c.previous for c in history[1:]] == [c.number for c in history[:-1]], "the history has no fork"


# ---------------------------------------------------------------------------------------------- database
def test_the_database_is_as_durable_as_promised(catalogue: Catalogue) -> None:
    with catalogue._database.read() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}


def test_nothing_is_created_unless_asked(settings: Settings) -> None:
    with pytest.raises(NotFound, match="no catalogue yet"):
        Catalogue.open(settings, create=False)
    assert not settings.home.exists()


def test_the_head_revision_is_the_newest_migration_and_makes_the_declared_tables(
    catalogue: Catalogue,
) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(database.MIGRATIONS))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD
    with catalogue._database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []


def test_the_tables_are_valid_for_postgresql_too() -> None:
    from sqlalchemy.dialects import postgresql
    from sqlalchemy.schema import CreateTable

    for table in schema.metadata.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]


def test_opening_an_up_to_date_database_does_not_import_alembic(settings: Settings) -> None:
    Catalogue.open(settings).close()
    code = "import sys; from headstock.catalogue import Catalogue; Catalogue.open(); print('alembic' in sys.modules)"
    environment = {"HEADSTOCK_HOME": str(settings.home), "PATH": ""}

    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


def test_a_newer_schema_is_refused_and_left_alone(settings: Settings) -> None:
    Catalogue.open(settings).close()
    assert settings.sqlite_path is not None
    with sqlite3.connect(settings.sqlite_path) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()

    with pytest.raises(FailedPrecondition, match="schema '9999', but this version knows only up to"):
        Catalogue.open(settings)


NEXT_REVISION = f'''"""Next."""
import sqlalchemy as sa
from alembic import op
revision = "9998"
down_revision = "{HEAD}"
branch_labels = None
depends_on = None
def upgrade() -> None:
    op.create_table("extra", sa.Column("id", sa.Integer, primary_key=True))
    {{then}}
'''


@pytest.fixture
def next_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The migrations with one more, as a later version would ship them; returns its file."""
    folder = tmp_path / "migrations"
    shutil.copytree(database.MIGRATIONS, folder)
    monkeypatch.setattr(database, "MIGRATIONS", folder)
    monkeypatch.setattr(database, "HEAD", "9998")
    return folder / "versions" / "rev_9998.py"


def test_an_older_database_is_backed_up_then_migrated(
    settings: Settings, next_revision: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    next_revision.write_text(NEXT_REVISION.format(then="pass"))
    with monkeypatch.context() as older:
        older.setattr(database, "HEAD", HEAD)
        with Catalogue.open(settings) as catalogue:
            version = add_backbone(catalogue)

    with Catalogue.open(settings) as catalogue:
        assert catalogue.newest("minilm") == version
        with catalogue._database.read() as connection:
            assert sa.inspect(connection).has_table("extra")

    (backup,) = settings.home.glob(f"catalogue.db.before-9998-from-{HEAD}-*")
    raw = sqlite3.connect(backup)
    assert raw.execute("SELECT name, number FROM versions").fetchall() == [("minilm", 1)]
    assert raw.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]
    raw.close()


def test_statements_from_before_scopes_keep_what_they_said_and_learn_it_when_it_is_said_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Schema 0001, written as it was written then: nothing is guessed, and no statement stands there twice."""
    with monkeypatch.context() as older:
        older.setattr(database, "HEAD", "0001")
        database.Database.open(settings.catalogue_url, settings.sqlite_path, create=True).close()
    assert settings.sqlite_path is not None
    identity = {"kind": "source", "spec": "hf:org/bert"}
    source = artefact_of("source", identity)
    said = {"subject": source.digest, "field": "licence", "value": "MIT", "source": "card", "locator": "c", "raw": ""}
    with sqlite3.connect(settings.sqlite_path) as raw:
        row = (source.digest, "source", canonical_json(identity).decode(), False, "2026-01-01T00:00:00Z")
        raw.execute("INSERT INTO artefacts VALUES (?, ?, ?, ?, ?)", row)
        raw.execute(
            "INSERT INTO evidence (id, subject, field, value, source, locator, raw, recorded_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, '2026-01-01T00:00:00Z')",
            (digest_json(said), *said.values()),
        )
    raw.close()

    with Catalogue.open(settings) as catalogue:
        (before,) = catalogue.evidence(source.digest)
        assert before == Evidence(**{**said, "scope": ""})  # type: ignore[arg-type]
        statement = replace(before, scope="weights")
        backbone = backbone_publication(catalogue.store, "minilm")
        again = replace(backbone, artefacts=[*backbone.artefacts, source], evidence=[statement])
        catalogue.publish(again)
        assert catalogue.evidence(source.digest) == [statement]
        catalogue.publish(replace(again, evidence=[before]))
        assert catalogue.evidence(source.digest) == [statement]
    assert list(settings.home.glob(f"catalogue.db.before-{HEAD}-from-0001-*"))


def test_a_migration_that_fails_half_way_leaves_the_old_schema(
    settings: Settings, next_revision: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    next_revision.write_text(NEXT_REVISION.format(then="raise RuntimeError('half way')"))
    with monkeypatch.context() as older:
        older.setattr(database, "HEAD", HEAD)
        with Catalogue.open(settings) as catalogue:
            add_backbone(catalogue)
    with pytest.raises(RuntimeError, match="half way"):
        Catalogue.open(settings)

    with monkeypatch.context() as older:
        older.setattr(database, "HEAD", HEAD)
        with Catalogue.open(settings) as catalogue:
            assert catalogue.names() == ["minilm"]
            with catalogue._database.read() as connection:
                assert not sa.inspect(connection).has_table("extra")


def test_a_url_that_cannot_be_used_says_which_setting(tmp_path: Path) -> None:
    bad = Settings.from_environment({"HEADSTOCK_HOME": str(tmp_path), "HEADSTOCK_CATALOGUE_URL": "nonsense://x"})

    with pytest.raises(FailedPrecondition, match="catalogue URL cannot be used") as caught:
        Catalogue.open(bad)
    assert "HEADSTOCK_CATALOGUE_URL" in (caught.value.fix or "")


def test_the_public_names_are_these_and_unknown_ones_fail() -> None:
    module = importlib.import_module("headstock.catalogue")

    assert all(getattr(module, name) for name in module.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Katalog'"):
        _ = module.Katalog


def test_an_artefact_row_that_was_changed_is_not_believed(catalogue: Catalogue, settings: Settings) -> None:
    version = add_backbone(catalogue)
    assert settings.sqlite_path is not None
    forged = json.dumps({"kind": "backbone", "family": "forged"})
    with sqlite3.connect(settings.sqlite_path) as raw:
        raw.execute("UPDATE artefacts SET identity = ? WHERE digest = ?", (forged, version.subject))
    raw.close()

    with pytest.raises(Corrupt, match="was changed"):
        catalogue.artefact(version.subject)


def test_identities_in_the_records_module_round_trip_through_the_catalogue(catalogue: Catalogue) -> None:
    backbone = add_backbone(catalogue)
    model = add_model(catalogue, "intents", backbone)
    identity = ModelIdentity.from_json(catalogue.artefact(model.subject).identity)
    head: Artefact = catalogue.artefact(identity.head)

    assert identity.backbone == backbone.subject
    assert HeadIdentity.from_json(head.identity).backbone == backbone.subject
    assert digest_json(head.identity) == head.digest
