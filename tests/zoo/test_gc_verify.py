"""Garbage collection keeps all that anything needs; verify sees whatever is not as its digest says."""

from __future__ import annotations

import itertools
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from headstock.catalogue import Catalogue, gc, leases
from headstock.catalogue.database import Database
from headstock.digest import Digest, digest_json
from headstock.errors import FailedPrecondition, NotFound
from headstock.records import Edge, Version
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


def blobs_of(catalogue: Catalogue, version: Version) -> set[Digest]:
    return set(catalogue.artefact(version.subject).files.values())


def present(catalogue: Catalogue) -> set[Digest]:
    return set(catalogue.store.digests())


def age_blobs(catalogue: Catalogue, seconds: float = 3600) -> None:
    """Make every blob in the store look `seconds` old."""
    for blob in catalogue.store.digests():
        os.utime(catalogue.store.path(blob), (time.time() - seconds,) * 2)


def edit(settings: Settings, statement: str, *values: Any) -> None:
    """Change the database behind the catalogue's back."""
    assert settings.sqlite_path is not None
    raw = sqlite3.connect(settings.sqlite_path)
    raw.execute(statement, values)
    raw.commit()
    raw.close()


# ---------------------------------------------------------------------------------------------- gc
def test_what_versions_need_stays(catalogue: Catalogue) -> None:
    model = add_model(catalogue, "intents", add_backbone(catalogue))
    before = present(catalogue)

    report = catalogue.gc()

    assert (report.blobs, report.artefacts, report.bytes) == ((), (), 0)
    assert present(catalogue) == before
    assert catalogue.artefact(model.subject).kind == "model"
    assert [e.action for e in catalogue.events()] == ["publish", "publish"], "a gc without effect is no event"


def test_what_was_removed_goes_and_its_size_is_told(catalogue: Catalogue) -> None:
    keep, drop = add_backbone(catalogue, "keep", seed=1), add_backbone(catalogue, "drop", seed=2)
    doomed = blobs_of(catalogue, drop) - blobs_of(catalogue, keep)
    size = sum(catalogue.store.size(blob) for blob in doomed)
    catalogue.remove("drop")

    report = catalogue.gc()

    assert set(report.blobs) == doomed
    assert report.bytes == size
    assert present(catalogue) == blobs_of(catalogue, keep)
    assert catalogue.events(1)[0].action == "gc"
    with pytest.raises(NotFound):
        catalogue.artefact(drop.subject)
    assert catalogue.verify().clean


def test_a_dry_run_says_what_would_go_and_deletes_nothing(catalogue: Catalogue) -> None:
    add_backbone(catalogue)
    catalogue.remove("minilm")
    before, generation = present(catalogue), catalogue.generation()

    plan = catalogue.gc(dry_run=True)

    assert (present(catalogue), catalogue.generation()) == (before, generation)
    done = catalogue.gc()
    assert (plan.blobs, plan.bytes, plan.artefacts) == (done.blobs, done.bytes, done.artefacts)


def test_blobs_that_were_never_published_go(catalogue: Catalogue) -> None:
    stray = catalogue.store.put_bytes(b"from a pull that failed")

    assert catalogue.gc().blobs == (stray,)


def test_files_that_only_the_preprocessing_spec_names_stay(catalogue: Catalogue) -> None:
    publication = backbone_publication(catalogue.store, "minilm")
    source, backbone = publication.artefacts
    tokenizer = backbone.files["tokenizer"]
    unlisted = replace(backbone, files={r: b for r, b in backbone.files.items() if r != "tokenizer"})
    catalogue.publish(replace(publication, artefacts=[source, unlisted]))

    catalogue.gc()

    assert catalogue.store.has(tokenizer)
    assert "tokenizer" not in catalogue.artefact(publication.subject).files


def test_every_version_that_rollback_can_reach_stays(catalogue: Catalogue) -> None:
    versions = [add_backbone(catalogue, seed=seed) for seed in range(3)]
    for version in versions:
        catalogue.promote("minilm", version.number)
    catalogue.gc()

    for version in reversed(versions[:-1]):
        assert catalogue.rollback("minilm").number == version.number
        assert all(catalogue.store.has(blob) for blob in blobs_of(catalogue, version))


def test_a_lease_keeps_a_removed_model_with_all_it_stands_on(catalogue: Catalogue) -> None:
    model = add_model(catalogue, "intents", add_backbone(catalogue))
    needed = present(catalogue)
    lease = catalogue.lease("server", [model.subject], 60)
    catalogue.remove("intents")
    catalogue.remove("minilm")

    catalogue.gc()
    assert present(catalogue) == needed
    assert catalogue.artefact(model.subject).kind == "model"

    lease.release()
    lease.release()
    catalogue.gc()
    assert present(catalogue) == set()


def test_a_lease_may_change_what_it_keeps(catalogue: Catalogue) -> None:
    first, second = add_backbone(catalogue, "first", 1), add_backbone(catalogue, "second", 2)
    kept = blobs_of(catalogue, second)
    lease = catalogue.lease("server", [first.subject], 60)
    lease.replace([second.subject])
    catalogue.remove("first")
    catalogue.remove("second")

    catalogue.gc()

    assert present(catalogue) == kept


def test_a_lease_can_keep_a_blob_by_itself(catalogue: Catalogue) -> None:
    blob = catalogue.store.put_bytes(b"profile")
    catalogue.lease("server", [blob], 60)

    assert catalogue.gc().blobs == ()


def test_an_expired_lease_keeps_nothing_and_cannot_be_renewed(catalogue: Catalogue, settings: Settings) -> None:
    lease = catalogue.lease("server", [add_backbone(catalogue).subject], 60)
    catalogue.remove("minilm")
    edit(settings, "UPDATE leases SET expires_at = ?", time.time() - 1)

    catalogue.gc()

    assert present(catalogue) == set()
    with pytest.raises(FailedPrecondition, match="has ended"):
        lease.renew()


def test_a_renewed_lease_goes_on(catalogue: Catalogue, settings: Settings) -> None:
    lease = catalogue.lease("server", [catalogue.store.put_bytes(b"needed")], 60)
    edit(settings, "UPDATE leases SET expires_at = ?", time.time() - 1)
    lease.renew()

    assert catalogue.gc().blobs == ()


def test_blobs_of_a_running_writer_stay_and_older_strays_go(catalogue: Catalogue) -> None:
    stray = catalogue.store.put_bytes(b"stray")
    age_blobs(catalogue)
    with catalogue.writing("pull"):
        publication = backbone_publication(catalogue.store, "minilm")
        report = catalogue.gc()
        version = catalogue.publish(publication)

    assert report.blobs == (stray,)
    assert report.young == 4
    assert blobs_of(catalogue, version) == present(catalogue)


def test_an_old_stray_that_a_writer_puts_again_counts_as_its_own(catalogue: Catalogue) -> None:
    blob = catalogue.store.put_bytes(b"shared between pulls")
    age_blobs(catalogue)
    with catalogue.writing("pull"):
        catalogue.store.put_bytes(b"shared between pulls")

        assert catalogue.gc().blobs == ()
    assert catalogue.gc().blobs == (blob,)


def test_a_blob_that_is_put_again_while_gc_deletes_stays(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"an old stray that somebody wants again this very moment"
    blob = catalogue.store.put_bytes(data)
    age_blobs(catalogue)
    real = catalogue.store.delete

    def races(digest: Digest, **options: Any) -> int:
        catalogue.store.put_bytes(data)
        return real(digest, **options)

    monkeypatch.setattr(catalogue.store, "delete", races)
    with catalogue.writing("pull"):
        report = catalogue.gc()

    assert (report.blobs, report.bytes) == ((), 0)
    assert catalogue.store.read_bytes(blob) == data


def test_a_writer_that_died_protects_its_blobs_only_for_so_long(catalogue: Catalogue, settings: Settings) -> None:
    with catalogue.writing("killed"):
        blob = catalogue.store.put_bytes(b"half a pull")
        assert catalogue.gc().blobs == ()
        # Nobody renews the lease of a dead process.
        edit(settings, "UPDATE leases SET expires_at = ?", time.time() - 1)

        assert catalogue.gc().blobs == (blob,)


def test_a_long_writer_renews_its_lease_by_itself(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    def expiry() -> float:
        with catalogue._database.read() as connection:
            return float(connection.exec_driver_sql("SELECT expires_at FROM leases").scalar_one())

    monkeypatch.setattr(leases, "_RENEWALS", leases.WRITE_SECONDS / 0.02)
    with catalogue.writing("slow"):
        first, deadline = expiry(), time.monotonic() + 30
        while expiry() == first and time.monotonic() < deadline:
            time.sleep(0.01)
        assert expiry() > first


def test_ancestors_keep_their_record_when_their_bytes_go(catalogue: Catalogue) -> None:
    parent = add_backbone(catalogue, "parent", seed=1)
    publication = backbone_publication(catalogue.store, "child", seed=2)
    edge = Edge(publication.subject, "quantised_from", parent.subject)
    child = catalogue.publish(replace(publication, edges=[*publication.edges, edge]))
    parent_blobs = blobs_of(catalogue, parent)
    catalogue.remove("parent")

    catalogue.gc()

    assert not parent_blobs & present(catalogue)
    assert catalogue.artefact(parent.subject).identity["seed"] == 1
    assert catalogue.evidence(parent.subject), "licences are inherited from ancestors"
    assert catalogue.artefact(parent.subject).files == {}
    assert catalogue.verify().clean
    # A head cannot be put on it any more, unless it is pulled again.
    with pytest.raises(FailedPrecondition, match="was removed and collected"):
        add_model(catalogue, "late", parent)
    catalogue.remove("child", child.number)
    add_backbone(catalogue, "parent", seed=1)
    assert add_model(catalogue, "late", parent).number == 1


def test_a_gc_that_dies_between_its_steps_is_finished_by_the_next(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = add_backbone(catalogue, "keep", seed=1)
    add_backbone(catalogue, "drop", seed=2)
    catalogue.remove("drop")
    real, calls = catalogue.store.delete, iter(range(100))

    def dies(digest: Digest, **options: Any) -> int:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return real(digest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(catalogue.store, "delete", dies)
        with pytest.raises(KeyboardInterrupt):
            catalogue.gc()
    assert catalogue.verify().clean

    catalogue.gc()
    assert present(catalogue) == blobs_of(catalogue, keep)
    assert catalogue.verify().clean


def test_gc_all_the_time_takes_nothing_from_those_who_publish(catalogue: Catalogue) -> None:
    done, errors = threading.Event(), list[BaseException]()

    def collect() -> None:
        try:
            # The pause lets writers in: the point is what gc meets, not how it starves others.
            while not done.wait(0.01):
                catalogue.gc()
        except BaseException as error:
            errors.append(error)

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        for seed in range(8):
            with catalogue.writing("pull"):
                version = add_backbone(catalogue, "minilm", seed % 3)
                add_model(catalogue, "intents", version, seed)
            if seed % 4 == 3:
                catalogue.remove("intents")
    finally:
        done.set()
        collector.join()

    assert errors == []
    assert catalogue.verify().clean


def test_a_version_removed_between_the_two_halves_of_gc_keeps_its_blobs_until_the_next(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = add_backbone(catalogue)
    add_model(catalogue, "intents", backbone)
    real, calls = Database.write, itertools.count(1)

    def write(database: Database, **options: Any) -> Any:
        if next(calls) == 2:
            monkeypatch.undo()
            catalogue.remove("intents")
        return real(database, **options)

    monkeypatch.setattr(Database, "write", write)
    assert catalogue.gc().blobs == ()
    assert catalogue.verify().clean

    assert catalogue.gc().blobs
    assert present(catalogue) == blobs_of(catalogue, backbone)
    assert catalogue.verify().clean


def test_publishing_without_a_lease_is_refused_rather_than_half_done_when_gc_was_faster(
    catalogue: Catalogue,
) -> None:
    publication = backbone_publication(catalogue.store, "minilm")
    catalogue.gc()

    with pytest.raises(NotFound, match="not in the store") as caught:
        catalogue.publish(publication)
    assert "Catalogue.writing()" in (caught.value.fix or "")


def test_gc_clears_the_files_of_dead_writers(catalogue: Catalogue) -> None:
    add_backbone(catalogue)
    (catalogue.store.root / "tmp" / "torn").write_bytes(b"torn")

    assert catalogue.gc(dry_run=True).temporaries == 1
    assert catalogue.gc().temporaries == 1
    assert catalogue.gc().temporaries == 0


def test_the_clock_slack_is_small_against_a_lease() -> None:
    assert 0 < gc._CLOCK_SLACK < leases.WRITE_SECONDS / 100


# ---------------------------------------------------------------------------------------------- verify
def spoil(catalogue: Catalogue, blob: Digest) -> None:
    path = catalogue.store.path(blob)
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)


def test_a_good_catalogue_is_clean_and_counted(catalogue: Catalogue) -> None:
    add_model(catalogue, "intents", add_backbone(catalogue))

    report = catalogue.verify()

    assert report.clean
    assert (report.versions, report.artefacts, report.events) == (2, 5, 2)
    assert report.blobs == len(present(catalogue))
    assert report.bytes == sum(catalogue.store.size(blob) for blob in present(catalogue))


def test_one_flipped_bit_is_found_with_the_versions_that_it_touches(catalogue: Catalogue) -> None:
    backbone = add_backbone(catalogue)
    add_model(catalogue, "intents", backbone)
    add_backbone(catalogue, "other", seed=7)
    spoil(catalogue, catalogue.artefact(backbone.subject).files["graph"])

    (problem,) = catalogue.verify().problems

    assert problem.kind == "blob-corrupt"
    assert problem.message.startswith("graph of backbone")
    assert problem.versions == ("intents:1", "minilm:1")
    assert "--repair" in problem.fix


def test_repair_quarantines_a_corrupt_blob_and_pulling_again_heals(catalogue: Catalogue) -> None:
    backbone = add_backbone(catalogue)
    graph = catalogue.artefact(backbone.subject).files["graph"]
    spoil(catalogue, graph)

    (problem,) = catalogue.verify(repair=True).problems
    assert "quarantine" in problem.repaired
    assert not catalogue.store.has(graph)
    assert catalogue.events(1)[0].action == "repair"
    assert [p.kind for p in catalogue.verify().problems] == ["blob-missing"]

    assert add_backbone(catalogue) == backbone
    assert catalogue.verify().clean


def test_pulling_again_heals_a_corrupt_blob_even_without_repair(catalogue: Catalogue) -> None:
    backbone = add_backbone(catalogue)
    spoil(catalogue, catalogue.artefact(backbone.subject).files["weights"])

    add_backbone(catalogue)

    assert catalogue.verify().clean


def test_a_missing_blob_is_found(catalogue: Catalogue) -> None:
    model = add_model(catalogue, "intents", add_backbone(catalogue))
    catalogue.store.delete(catalogue.artefact(model.subject).files["recipe"])

    (problem,) = catalogue.verify().problems

    assert (problem.kind, problem.versions) == ("blob-missing", ("intents:1",))
    assert problem.message.startswith("recipe of model")


TAMPERINGS = {
    "a changed event": ("UPDATE events SET detail = '{}' WHERE id = 2", "audit", "event 2 was changed"),
    "a changed actor": ("UPDATE events SET actor = 'eve' WHERE id = 1", "audit", "event 1 was changed"),
    "a deleted event": ("DELETE FROM events WHERE id = 2", "audit", "event 2 is missing"),
    "a cut tail": ("DELETE FROM events WHERE id = 3", "audit", "holds 2 events, but 3 were written"),
    "an event that is no JSON": (
        "UPDATE events SET detail = '{' WHERE id = 1",
        "audit",
        "event 1 does not hold JSON",
    ),
    "a changed identity": (
        "UPDATE artefacts SET identity = replace(identity, 'bert', 'gpt')",
        "identity",
        "hashes to",
    ),
    "an unreadable identity": (
        "UPDATE artefacts SET identity = '{' WHERE kind = 'model'",
        "identity",
        "hashes to",
    ),
    "another kind": (
        "UPDATE artefacts SET kind = 'head' WHERE kind = 'backbone'",
        "identity",
        "says that it is a backbone",
    ),
    "a lowered counter": ("UPDATE entries SET next_version = 1", "reference", "was never numbered"),
    "a lost backbone": ("DELETE FROM artefacts WHERE kind = 'backbone'", "reference", "names backbone"),
    "an alias to nowhere": (
        "UPDATE aliases SET number = 7",
        "alias",
        "points to version 7, which does not exist",
    ),
}


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_tampering_with_the_database_shows(catalogue: Catalogue, settings: Settings, tampering: str) -> None:
    add_model(catalogue, "intents", add_backbone(catalogue))
    catalogue.promote("intents", 1)
    statement, kind, message = TAMPERINGS[tampering]
    edit(settings, statement)

    problems = catalogue.verify().problems

    assert [p for p in problems if p.kind == kind and message in p.message], problems


def test_an_event_that_was_rewritten_with_a_fresh_hash_breaks_the_chain(
    catalogue: Catalogue, settings: Settings
) -> None:
    add_model(catalogue, "intents", add_backbone(catalogue))
    first = asdict(catalogue.events()[-1])
    del first["hash"]
    forged = digest_json({**first, "actor": "eve"})
    edit(settings, "UPDATE events SET actor = 'eve', hash = ? WHERE id = 1", forged)

    messages = [problem.message for problem in catalogue.verify().problems]

    assert messages == ["audit log: event 2 does not follow the event before it"]


def test_files_of_dead_writers_are_no_problem_and_repair_clears_them(catalogue: Catalogue) -> None:
    add_backbone(catalogue)
    (catalogue.store.root / "tmp" / "torn").write_bytes(b"torn")

    report = catalogue.verify()
    assert report.clean
    assert report.temporaries == 1
    catalogue.verify(repair=True)
    assert catalogue.verify().temporaries == 0
