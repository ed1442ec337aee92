"""The repository: names to loaded versions, while the catalogue changes under it."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstock.catalogue import Catalogue, entries
from headstock.digest import Digest
from headstock.errors import Corrupt, FailedPrecondition, HeadstockError, InvalidInput, NotFound
from headstock.records import Edge, Version
from headstock.servable import load_model
from headstock.testing.toy import Toy, ToyHead, publish_backbone, publish_model
from headstock_server.engine import Engine, EngineOptions
from headstock_server.repository import Repository, Snapshot
from headstock_server.scheduler import Scheduler, Ticket

Open = Callable[..., Repository]


@pytest.fixture
def open_repository(catalogue: Catalogue, engine: Engine) -> Iterator[Open]:
    """Repositories over the test's catalogue that do not follow it by themselves."""
    opened: list[Repository] = []

    def build(**options: object) -> Repository:
        repository = Repository(catalogue, engine, **{"poll_seconds": 60.0, **options})  # type: ignore[arg-type]
        opened.append(repository)
        repository.start()
        return repository

    yield build
    for repository in opened:
        repository.close()


def _states(repository: Repository) -> dict[tuple[str, int], str]:
    return {(row.name, row.version): row.state for row in repository.index()}


def _break(catalogue: Catalogue, blob: Digest) -> None:
    path = catalogue.store.path(blob)
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def _parameters_of(catalogue: Catalogue, subject: Digest) -> Digest:
    head = catalogue.artefact(catalogue.artefact(subject).identity["head"])
    return head.files["parameters"]


def test_defaults_of_all_models_are_loaded_at_start(repository: Repository) -> None:
    assert repository.ready
    assert _states(repository) == {("intents", 1): "READY", ("sentiment", 1): "READY"}
    model = repository.resolve("sentiment")
    assert model is not None
    assert (model.name, model.number, model.backbone.identity.family) == ("sentiment", 1, "toy")
    assert [o.name for o in model.outputs] == ["logits", "probabilities", "label"]
    assert repository.resolve("sentiment", "1") is model
    assert repository.resolve("sentiment", "7") is None
    assert repository.resolve("toy") is None


def test_only_chosen_models_are_served(open_repository: Open, toy: Toy) -> None:
    repository = open_repository(names=["intents"])
    repository.wait(30)
    assert _states(repository) == {("intents", 1): "READY"}
    with pytest.raises(NotFound, match="does not serve 'sentiment'; it serves intents"):
        repository.ensure("sentiment")


def test_a_chosen_name_that_does_not_exist_stops_the_start(open_repository: Open, toy: Toy) -> None:
    with pytest.raises(NotFound, match="sentimental"):
        open_repository(names=["sentimental"])


def test_the_default_is_the_production_alias_and_else_the_newest(
    open_repository: Open, catalogue: Catalogue, toy: Toy
) -> None:
    publish_model(catalogue, "sentiment", toy.backbone, ToyHead(seed=8))
    publish_model(catalogue, "intents", toy.backbone, ToyHead(seed=9))
    catalogue.promote("sentiment", 1)
    repository = open_repository()
    repository.wait(30)
    assert _number(repository, "sentiment") == 1
    assert _number(repository, "intents") == 2
    production = repository.resolve("sentiment", "production")
    assert production is not None
    assert production.aliases == ("production",)


def test_other_versions_are_loaded_when_they_are_asked_for(
    open_repository: Open, catalogue: Catalogue, toy: Toy
) -> None:
    publish_model(catalogue, "sentiment", toy.backbone, ToyHead(seed=8))
    catalogue.promote("sentiment", 1, "canary")
    repository = open_repository()
    repository.wait(30)
    assert repository.resolve("sentiment", "1") is None
    assert repository.ensure("sentiment", "1").number == 1
    assert repository.resolve("sentiment", "1") is repository.resolve("sentiment", "canary")
    repository.refresh()
    assert repository.resolve("sentiment", "1") is not None


@pytest.mark.parametrize(
    "name, selector, error",
    [
        ("sentimant", "", NotFound),
        ("sentiment", "9", NotFound),
        ("sentiment", "nightly", NotFound),
        ("../etc", "", InvalidInput),
        ("toy", "", FailedPrecondition),
    ],
)
def test_what_cannot_be_served_is_explained(
    repository: Repository, name: str, selector: str, error: type[HeadstockError]
) -> None:
    with pytest.raises(error):
        repository.ensure(name, selector)


def test_a_promotion_and_a_rollback_take_effect_without_a_restart(
    repository: Repository, catalogue: Catalogue, toy: Toy
) -> None:
    publish_model(catalogue, "sentiment", toy.backbone, ToyHead(seed=8))
    _until(lambda: _number(repository, "sentiment") == 2)
    catalogue.promote("sentiment", 1)
    _until(lambda: _number(repository, "sentiment") == 1)
    catalogue.promote("sentiment", 2)
    _until(lambda: _number(repository, "sentiment", "production") == 2)
    catalogue.rollback("sentiment")
    _until(lambda: _number(repository, "sentiment", "production") == 1)


def test_new_and_removed_models_come_and_go(repository: Repository, catalogue: Catalogue, toy: Toy) -> None:
    publish_model(catalogue, "urgency", toy.backbone, ToyHead(seed=3))
    _until(lambda: repository.resolve("urgency") is not None)
    catalogue.remove("intents")
    _until(lambda: repository.resolve("intents") is None)
    assert ("intents", 1) not in _states(repository)


def test_a_version_that_cannot_load_leaves_the_one_before_in_place(
    open_repository: Open, catalogue: Catalogue, toy: Toy
) -> None:
    catalogue.promote("sentiment", 1)
    repository = open_repository()
    repository.wait(30)
    broken = publish_model(catalogue, "sentiment", toy.backbone, ToyHead(seed=8))
    _break(catalogue, _parameters_of(catalogue, broken.subject))
    catalogue.promote("sentiment", 2)
    repository.refresh()
    assert _number(repository, "sentiment") == 1
    assert _number(repository, "sentiment", "production") == 1
    rows = {row.version: row for row in repository.index() if row.name == "sentiment"}
    assert rows[1].state == "READY"
    assert rows[2].state == "UNAVAILABLE"
    assert "holds other bytes" in rows[2].reason
    assert str(catalogue.store.path(Digest("sha256:" + "0" * 64)).parent.parent) not in rows[2].reason
    with pytest.raises(Corrupt):
        repository.ensure("sentiment", "2")


def test_a_model_that_cannot_load_at_start_does_not_stop_the_others(
    open_repository: Open, catalogue: Catalogue, toy: Toy
) -> None:
    _break(catalogue, _parameters_of(catalogue, toy.models["intents"].subject))
    repository = open_repository()
    repository.wait(30)
    assert _states(repository) == {("intents", 1): "UNAVAILABLE", ("sentiment", 1): "READY"}


def test_strict_start_fails_if_a_model_cannot_load(open_repository: Open, catalogue: Catalogue, toy: Toy) -> None:
    _break(catalogue, _parameters_of(catalogue, toy.models["intents"].subject))
    with pytest.raises(Corrupt, match="intents:1"):
        open_repository(strict=True).wait(30)


def test_a_repaired_version_is_tried_again(
    open_repository: Open, catalogue: Catalogue, toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstock_server.repository.loader.RETRY_SECONDS", 0.0)
    blob = _parameters_of(catalogue, toy.models["intents"].subject)
    whole = catalogue.store.path(blob).read_bytes()
    _break(catalogue, blob)
    repository = open_repository(poll_seconds=0.02)
    repository.wait(30)
    assert repository.resolve("intents") is None
    catalogue.store.path(blob).write_bytes(whole)
    _until(lambda: repository.resolve("intents") is not None)


def test_models_on_several_backbones_are_loaded_and_let_go(
    open_repository: Open, catalogue: Catalogue, toy: Toy, engine: Engine
) -> None:
    other = publish_backbone(catalogue, "second", seed=5)
    publish_model(catalogue, "elsewhere", other)
    repository = open_repository()
    repository.wait(30)
    assert len(engine.backbones()) == 2
    catalogue.remove("elsewhere")
    repository.refresh()
    gc.collect()
    assert len(engine.backbones()) == 1


def test_a_running_server_holds_a_lease_on_what_it_serves(
    open_repository: Open, catalogue: Catalogue, toy: Toy, tmp_path: Path
) -> None:
    repository = open_repository()
    repository.wait(30)
    _until(lambda: repository._lease.held)
    blob = _parameters_of(catalogue, toy.models["intents"].subject)
    catalogue.remove("intents")
    catalogue.gc()
    assert catalogue.store.has(blob)
    repository.close()
    catalogue.gc()
    assert not catalogue.store.has(blob)


def test_swaps_under_load_fail_no_request_and_every_answer_is_of_its_version(
    repository: Repository, catalogue: Catalogue, toy: Toy
) -> None:
    """Requests go on while the alias moves back and forth; the version a request was resolved to answers it."""
    second = publish_model(catalogue, "sentiment", toy.backbone, ToyHead(seed=8))
    expected = {}
    for version in (toy.models["sentiment"], second):
        alone = Engine(EngineOptions(token_budget=256)).load(load_model(catalogue, version))
        rows = alone.backbone.preprocessor.rows(["late order"])
        features = alone.backbone.infer(alone.backbone.collate(rows), ["mean"])["mean"]
        expected[version.number] = alone.group.run(features, np.array([alone.slot])).tobytes()
    delivered: list[Ticket] = []
    scheduler = Scheduler(delivered.extend)
    stop = threading.Event()

    def swap() -> None:
        number = 1
        while not stop.is_set():
            catalogue.promote("sentiment", number)
            number = 3 - number

    swapper = threading.Thread(target=swap)
    swapper.start()
    submitted = 0
    end = time.monotonic() + 1.5
    try:
        while time.monotonic() < end:
            model = repository.resolve("sentiment")
            assert model is not None
            scheduler.submit(Ticket(model, list(rows)))
            submitted += 1
            time.sleep(0.001)
    finally:
        stop.set()
        swapper.join()
    assert scheduler.drain(10)
    scheduler.close()
    assert len(delivered) == submitted
    assert {ticket.model.number for ticket in delivered} == {1, 2}
    for ticket in delivered:
        assert isinstance(ticket.result, np.ndarray)
        assert ticket.result.tobytes() == expected[ticket.model.number]


def test_a_version_that_nobody_promoted_never_answers_while_an_alias_moves_past_it(
    catalogue: Catalogue, toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process publishes and promotes between the two tables that are read."""
    publish_model(catalogue, "sentiment", toy.backbone, ToyHead(seed=8))
    catalogue.promote("sentiment", 1)
    read = entries.versions

    def then_moves(connection: Any, name: str | None, kind: Any) -> list[Version]:
        found = read(connection, name, kind)
        monkeypatch.setattr(entries, "versions", read)
        with Catalogue.open(catalogue.settings) as other:
            publish_model(other, "sentiment", toy.backbone, ToyHead(seed=9))
            other.promote("sentiment", 3)
        return found

    monkeypatch.setattr(entries, "versions", then_moves)
    assert Snapshot.read(catalogue, None).default("sentiment").number == 1
    assert Snapshot.read(catalogue, None).default("sentiment").number == 3


def test_what_was_read_later_is_not_replaced_by_what_was_read_before(
    open_repository: Open, catalogue: Catalogue, toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request reads the catalogue for a version that it asks for while the watcher does for a promotion."""
    catalogue.promote("sentiment", 1)
    publish_model(catalogue, "sentiment", toy.backbone, ToyHead(seed=8))
    repository = open_repository()
    repository.wait(30)
    number = publish_model(catalogue, "sentiment", toy.backbone, ToyHead(seed=9)).number
    has_read, go_on = threading.Event(), threading.Event()
    read = Snapshot.read

    def slowly(*arguments: Any) -> Snapshot:
        found = read(*arguments)
        monkeypatch.setattr(Snapshot, "read", read)
        has_read.set()
        assert go_on.wait(10)
        return found

    monkeypatch.setattr(Snapshot, "read", slowly)
    request = threading.Thread(target=repository.ensure, args=("sentiment", str(number)))
    request.start()
    assert has_read.wait(10)
    catalogue.promote("sentiment", 2)
    watcher = threading.Thread(target=repository.refresh)
    watcher.start()
    watcher.join(0.3)
    go_on.set()
    for thread in (watcher, request):
        thread.join(10)
    assert {row.version for row in repository.index() if "production" in row.aliases} == {2}


def test_a_model_that_is_removed_files_and_all_does_not_end_the_following(
    open_repository: Open, catalogue: Catalogue, toy: Toy
) -> None:
    """It was loaded a moment ago, so that no lease holds it yet."""
    catalogue.promote("sentiment", 1)
    publish_model(catalogue, "sentiment", toy.backbone, ToyHead(seed=8))
    repository = open_repository()
    repository.wait(30)
    publish_model(catalogue, "passing", toy.backbone, ToyHead(seed=9))
    repository.ensure("passing")
    catalogue.remove("passing")
    catalogue.gc()
    catalogue.promote("sentiment", 2)
    repository.refresh()
    assert _number(repository, "sentiment") == 2
    assert repository.resolve("passing") is None


def test_a_model_that_is_removed_files_and_all_while_it_loads_is_not_found(
    open_repository: Open, catalogue: Catalogue, toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asked for it at that moment hears what everybody hears a moment later, and nothing of a bug."""
    repository = open_repository()
    repository.wait(30)
    publish_model(catalogue, "passing", toy.backbone, ToyHead(seed=9))
    load = repository.engine.load

    def too_late(servable: Any) -> Any:
        catalogue.remove("passing")
        catalogue.gc()
        return load(servable)

    monkeypatch.setattr(repository.engine, "load", too_late)
    with pytest.raises(NotFound, match="passing"):
        repository.ensure("passing")


def test_a_sibling_that_is_removed_while_a_model_loads_is_not_in_its_way(
    catalogue: Catalogue, toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looks for a stem asks all children of the backbone, one after the other."""
    publish_model(catalogue, "passing", toy.backbone, ToyHead(seed=9))
    edges = catalogue.edges

    def then_removed(**wanted: Any) -> list[Edge]:
        found = edges(**wanted)
        monkeypatch.setattr(catalogue, "edges", edges)
        catalogue.remove("passing")
        catalogue.gc()
        return found

    monkeypatch.setattr(catalogue, "edges", then_removed)
    assert load_model(catalogue, toy.models["sentiment"]).version.name == "sentiment"
    assert catalogue.names("model") == ["intents", "sentiment"]


def test_a_change_that_could_not_be_applied_is_tried_again_without_another(
    repository: Repository, catalogue: Catalogue, toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue.promote("sentiment", 1)
    publish_model(catalogue, "sentiment", toy.backbone, ToyHead(seed=8))
    _until(lambda: repository.generation == catalogue.generation())
    judge, failed = repository.licences.refresh, threading.Event()

    def fail_once(versions: Any) -> None:
        monkeypatch.setattr(repository.licences, "refresh", judge)
        failed.set()
        raise OSError("away for a moment")

    monkeypatch.setattr(repository.licences, "refresh", fail_once)
    catalogue.promote("sentiment", 2)
    assert failed.wait(10)
    _until(lambda: _number(repository, "sentiment") == 2)


def _number(repository: Repository, name: str, selector: str = "") -> int | None:
    model = repository.resolve(name, selector)
    return None if model is None else model.number


def _until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


def test_a_rollback_does_not_wait_for_a_model_that_loads(
    repository: Repository, catalogue: Catalogue, toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading may take minutes, and whoever rolls back is in a hurry."""
    catalogue.promote("sentiment", 1)
    publish_model(catalogue, "sentiment", toy.backbone, ToyHead(seed=8))
    catalogue.promote("sentiment", 2)
    _until(lambda: _number(repository, "sentiment") == 2)
    repository.ensure("sentiment", "1")
    loads, release, load = threading.Event(), threading.Event(), repository.engine.load

    def slow(servable: Any) -> Any:
        loads.set()
        assert release.wait(30)
        return load(servable)

    monkeypatch.setattr(repository.engine, "load", slow)
    try:
        publish_model(catalogue, "another", toy.backbone, ToyHead(seed=9))
        assert loads.wait(10)
        catalogue.rollback("sentiment", "production")
        _until(lambda: _number(repository, "sentiment") == 1)
        assert repository.resolve("another") is None
    finally:
        release.set()
    _until(lambda: repository.resolve("another") is not None)
