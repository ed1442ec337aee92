"""`headstock list`: what it shows, and that it costs next to nothing."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headstock.catalogue import Catalogue, database, listing
from headstock.catalogue.listing import Listing, read_listing
from headstock.catalogue.revision import HEAD
from headstock.cli.list import age
from headstock.errors import Corrupt, FailedPrecondition
from headstock.records import Edge, Evidence, Version, artefact_of
from headstock.settings import Settings
from headstock.testing.publications import backbone_publication, model_publication

HEAVY = (
    "torch",
    "transformers",
    "onnxruntime",
    "grpc",
    "numpy",
    "sqlalchemy",
    "alembic",
    "pydantic",
    "huggingface_hub",
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment({"HEADSTOCK_HOME": str(tmp_path / "home")})


@pytest.fixture
def catalogue(settings: Settings) -> Iterator[Catalogue]:
    with Catalogue.open(settings) as opened:
        yield opened


def add_model(catalogue: Catalogue, name: str, backbone: Version, seed: int = 0) -> Version:
    return catalogue.publish(model_publication(catalogue.store, name, backbone.subject, seed=seed))


def through_sqlalchemy(settings: Settings) -> list[Listing]:
    return listing._read_through_sqlalchemy(settings, listing.listing)


def test_without_a_catalogue_the_list_is_empty_and_nothing_is_created(settings: Settings) -> None:
    assert read_listing(settings) == []
    assert not settings.home.exists()


def test_a_listing_tells_what_stands_on_what_and_what_it_weighs(catalogue: Catalogue, settings: Settings) -> None:
    backbone = catalogue.publish(backbone_publication(catalogue.store, "minilm"))
    model = add_model(catalogue, "intents", backbone)
    catalogue.promote("intents", 1)

    head, body = read_listing(settings)

    assert body == Listing(
        name="minilm",
        version=1,
        newest=True,
        aliases=(),
        kind="backbone",
        family="bert",
        head="",
        backbone=backbone.subject,
        backbone_name="minilm",
        own_bytes=sum(catalogue.sizes(backbone.subject).values()),
        shared_bytes=0,
        licences=("Apache-2.0",),
        created_at=backbone.created_at,
        subject=backbone.subject,
    )
    assert (head.name, head.kind, head.head, head.family) == (
        "intents",
        "model",
        "text-classification",
        "bert",
    )
    assert (head.aliases, head.backbone_name) == (("production",), "minilm")
    assert head.shared_bytes == body.own_bytes
    parameters = catalogue.sizes(catalogue.artefact(model.subject).identity["head"])
    assert head.own_bytes == sum({**catalogue.sizes(model.subject), **parameters}.values())


def test_a_blob_with_two_roles_weighs_once(catalogue: Catalogue, settings: Settings) -> None:
    publication = backbone_publication(catalogue.store, "minilm")
    source, backbone = publication.artefacts
    twice = replace(backbone, files={**backbone.files, "card": backbone.files["graph"]})
    catalogue.publish(replace(publication, artefacts=[source, twice]))

    (item,) = read_listing(settings)

    assert item.own_bytes == sum(catalogue.store.size(blob) for blob in set(twice.files.values()))


def test_versions_are_listed_newest_first(catalogue: Catalogue, settings: Settings) -> None:
    for seed in range(11):
        catalogue.publish(backbone_publication(catalogue.store, "minilm", seed=seed))

    listings = read_listing(settings)

    assert [item.version for item in listings] == list(range(11, 0, -1))
    assert [item.newest for item in listings] == [True] + [False] * 10


def test_all_declared_licences_are_shown_where_sources_conflict(catalogue: Catalogue, settings: Settings) -> None:
    stated = [
        ("MIT", "package-metadata"),
        ("Apache-2.0", "card"),
        ("MIT", "licence-file"),
        ("NOASSERTION", "config"),
    ]
    catalogue.publish(backbone_publication(catalogue.store, "minilm", licences=stated))

    assert read_listing(settings)[0].licences == ("Apache-2.0", "MIT")


@pytest.mark.parametrize("licences", [[], [("NOASSERTION", "card")]])
def test_a_missing_licence_is_noassertion(
    catalogue: Catalogue, settings: Settings, licences: list[tuple[str, str]]
) -> None:
    catalogue.publish(backbone_publication(catalogue.store, "minilm", licences=licences))

    assert read_listing(settings)[0].licences == ("NOASSERTION",)


def test_a_licence_reaches_a_model_along_its_weights_but_not_from_its_data(
    catalogue: Catalogue, settings: Settings
) -> None:
    publication = backbone_publication(catalogue.store, "minilm", licences=[])
    parent = artefact_of("source", {"kind": "source", "spec": "hf:org/parent"})
    backbone = catalogue.publish(
        replace(
            publication,
            artefacts=[*publication.artefacts, parent],
            edges=[*publication.edges, Edge(publication.subject, "finetuned_from", parent.digest)],
            evidence=[Evidence(parent.digest, "licence", "BSD-3-Clause", "hub-tag", "hf:org/parent")],
        )
    )
    model = model_publication(catalogue.store, "intents", backbone.subject)
    data = Evidence(model.artefacts[0].digest, "licence", "CC0-1.0", "operator", "tickets.csv")
    catalogue.publish(replace(model, evidence=[data]))

    assert [item.licences for item in read_listing(settings)] == [("BSD-3-Clause",)] * 2


def test_a_backbone_without_an_entry_is_shown_by_digest(catalogue: Catalogue, settings: Settings) -> None:
    publication = backbone_publication(catalogue.store, "minilm")
    model = model_publication(catalogue.store, "private", publication.subject)
    catalogue.publish(replace(model, artefacts=[*publication.artefacts, *model.artefacts]))

    (item,) = read_listing(settings)

    assert (item.backbone, item.backbone_name) == (publication.subject, "")


def test_the_light_reader_and_sqlalchemy_tell_the_same(catalogue: Catalogue, settings: Settings) -> None:
    backbone = catalogue.publish(backbone_publication(catalogue.store, "minilm"))
    for seed in range(3):
        add_model(catalogue, "intents", backbone, seed)
    catalogue.promote("intents", 2, "canary")

    assert read_listing(settings) == through_sqlalchemy(settings)
    assert [item.kind for item in read_listing(settings, "model")] == ["model"] * 3


def test_a_database_that_must_be_migrated_first_is(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Catalogue.open(settings) as catalogue:
        catalogue.publish(backbone_publication(catalogue.store, "minilm"))
    folder = tmp_path / "migrations"
    shutil.copytree(database.MIGRATIONS, folder)
    (folder / "versions" / "rev_9998.py").write_text(
        f'"""Next."""\nrevision = "9998"\ndown_revision = "{HEAD}"\nbranch_labels = depends_on = None\n'
        "def upgrade() -> None:\n    pass\n"
    )
    monkeypatch.setattr(database, "MIGRATIONS", folder)
    monkeypatch.setattr(database, "HEAD", "9998")
    monkeypatch.setattr(listing, "HEAD", "9998")

    assert [item.name for item in read_listing(settings)] == ["minilm"]
    assert [item.name for item in read_listing(settings)] == ["minilm"]


def test_a_newer_database_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    Catalogue.open(settings).close()
    monkeypatch.setattr(listing, "HEAD", "0000")
    monkeypatch.setattr(database, "HEAD", "0000")

    with pytest.raises(FailedPrecondition, match="this version knows only up to '0000'"):
        read_listing(settings)


@pytest.mark.parametrize("statement", ["UPDATE artefacts SET identity = '{'", "DROP TABLE evidence"])
def test_a_damaged_database_is_one_clear_error(catalogue: Catalogue, settings: Settings, statement: str) -> None:
    catalogue.publish(backbone_publication(catalogue.store, "minilm"))
    assert settings.sqlite_path is not None
    raw = sqlite3.connect(settings.sqlite_path)
    raw.execute(statement)
    raw.commit()
    raw.close()

    with pytest.raises(Corrupt, match="the catalogue cannot be read"):
        read_listing(settings)


@pytest.mark.parametrize(
    "ago, shown",
    [
        (timedelta(seconds=-30), "now"),
        (timedelta(seconds=59), "now"),
        (timedelta(minutes=1), "1m"),
        (timedelta(hours=23, minutes=59), "23h"),
        (timedelta(days=6), "6d"),
        (timedelta(days=20), "2w"),
        (timedelta(days=800), "2y"),
    ],
)
def test_age_is_one_number_and_one_unit(ago: timedelta, shown: str) -> None:
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)

    assert age((now - ago).strftime("%Y-%m-%dT%H:%M:%SZ"), now) == shown


def test_listing_imports_nothing_heavy(catalogue: Catalogue, settings: Settings) -> None:
    catalogue.publish(backbone_publication(catalogue.store, "minilm"))
    code = (
        "import sys\n"
        "from headstock.cli.main import main\n"
        "sys.argv = ['headstock', 'list', '--format', 'quiet']\n"
        "try:\n    main()\n"
        "finally:\n    print([m for m in sys.modules if m.partition('.')[0] in " + repr(HEAVY) + "])\n"
    )
    environment = {"HEADSTOCK_HOME": str(settings.home), "PATH": ""}

    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["minilm:1", "[]"]
