"""headstock.v1.Zoo: what the catalogue holds, where it comes from, and the changes that an operator allowed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict, MessageToJson

from headstock.catalogue import Catalogue
from headstock.digest import digest_json
from headstock.records import Publication
from headstock.testing.toy import Toy, ToyHead, publish_model
from headstock.v1 import zoo_pb2 as pb
from headstock.v1.zoo_pb2_grpc import ZooStub
from headstock_server.app import Running, ServeOptions
from headstock_server.engine import EngineOptions
from headstock_server.testing import background_server


@pytest.fixture
def server(catalogue: Catalogue, toy: Toy) -> Iterator[Running]:
    """A server whose callers may change things."""
    options = ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=64), allow_admin=True)
    with background_server(catalogue.settings, options) as running:
        yield running


@pytest.fixture
def stub(server: Running) -> Iterator[ZooStub]:
    """The service on that server."""
    with grpc.insecure_channel(server.address) as channel:
        yield ZooStub(channel)


@pytest.fixture
def readers(toy_server: Running) -> Iterator[ZooStub]:
    """The service on a server that allows no changes."""
    with grpc.insecure_channel(toy_server.address) as channel:
        yield ZooStub(channel)


def refused(call: Callable[[Any], Any], request: Any) -> tuple[str, str]:
    """Code and message of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call(request)
    return caught.value.code().name, caught.value.details()


def eventually(condition: Callable[[], bool]) -> None:
    """Wait a moment for something that another thread does."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


# ------------------------------------------------------------------------------------------- reads
def test_the_list_has_every_version_with_its_state_here(stub: ZooStub, catalogue: Catalogue, toy: Toy) -> None:
    """By name, newest first; a backbone has no state, for it is served by the models on it."""
    catalogue.promote("sentiment", 1)
    publish_model(catalogue, "sentiment", toy.backbone, ToyHead(seed=9))
    eventually(lambda: len(stub.List(pb.ListRequest(kind="model")).entries) == 3)
    entries = stub.List(pb.ListRequest()).entries
    assert [(e.name, e.version, e.kind, e.newest) for e in entries] == [
        ("intents", 1, "model", True),
        ("sentiment", 2, "model", True),
        ("sentiment", 1, "model", False),
        ("toy", 1, "backbone", True),
    ]
    promoted, backbone = entries[2], entries[3]
    assert (list(promoted.aliases), promoted.state, promoted.reason) == (["production"], "READY", "")
    assert (promoted.family, promoted.head_type) == ("toy", "text-classification")
    assert (promoted.backbone, promoted.backbone_name) == (toy.backbone.subject, "toy")
    assert list(promoted.licences) == ["CC0-1.0"]
    assert promoted.own_bytes > 0
    assert promoted.shared_bytes == backbone.own_bytes
    assert (backbone.state, backbone.head_type) == ("", "")


def test_the_list_is_of_one_kind_or_of_both(readers: ZooStub) -> None:
    """Another kind is refused with the kinds that exist."""
    assert {e.kind for e in readers.List(pb.ListRequest(kind="backbone")).entries} == {"backbone"}
    code, message = refused(readers.List, pb.ListRequest(kind="heads"))
    assert code == "INVALID_ARGUMENT"
    assert "expected 'backbone', 'model' or ''" in message


def test_a_model_that_this_server_was_not_told_to_serve_is_listed_as_unavailable(
    catalogue: Catalogue, toy: Toy
) -> None:
    """The list is the catalogue's, the state is the server's."""
    options = ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=64), models=("intents",))
    with background_server(catalogue.settings, options) as server, grpc.insecure_channel(server.address) as channel:
        entries = ZooStub(channel).List(pb.ListRequest()).entries
    states = {e.name: e.state for e in entries}
    assert states == {"intents": "READY", "sentiment": "UNAVAILABLE", "toy": ""}


def test_an_unloaded_model_says_so_in_the_list(stub: ZooStub) -> None:
    """With the reason."""
    stub.Unload(pb.UnloadRequest(name="intents"))
    states = {e.name: (e.state, e.reason) for e in stub.List(pb.ListRequest(kind="model")).entries}
    assert states["sentiment"] == ("READY", "")
    assert states["intents"][0] == "UNAVAILABLE"
    assert "unloaded" in states["intents"][1]


def test_a_version_shows_its_identity_digests_and_licence_statements(readers: ZooStub) -> None:
    """Enough to check by hand that the digests are what they say."""
    shown = readers.Show(pb.ShowRequest(name="sentiment"))
    assert (shown.name, shown.version, shown.kind, shown.newest) == ("sentiment", 1, "model", True)
    assert set(shown.digests) == {"model", "head", "backbone"}
    parts = {k: shown.digests[k] for k in ("backbone", "head")}
    assert digest_json({"kind": "model", "adapter": None, **parts}) == shown.digests["model"]
    backbone, head = MessageToDict(shown.backbone), MessageToDict(shown.head)
    assert (backbone["family"], backbone["digest"]) == ("toy", shown.digests["backbone"])
    assert (head["type"], head["backbone"]) == ("text-classification", shown.digests["backbone"])
    assert {("backbone", "graph"), ("head", "parameters"), ("model", "recipe")} <= {
        (f.part, f.role) for f in shown.files
    }
    assert all(f.bytes > 0 and f.digest.startswith("sha256:") for f in shown.files)
    [statement] = shown.statements
    assert (statement.field, statement.value, statement.subject) == ("licence", "CC0-1.0", shown.digests["backbone"])
    assert (statement.source, statement.locator, statement.raw) == ("manifest", "toy:manifest", "made by the test kit")
    assert statement.scope == "weights"
    assert shown.certificate.shared
    assert shown.certificate.provider == "CPUExecutionProvider"
    assert not shown.conflicts


def test_a_backbone_shows_no_head(readers: ZooStub) -> None:
    """It has none."""
    shown = readers.Show(pb.ShowRequest(name="toy", version="1"))
    assert (shown.kind, shown.HasField("head"), set(shown.digests)) == ("backbone", False, {"backbone"})


def test_metrics_and_moves_of_aliases_are_shown_without_their_actors(
    stub: ZooStub, catalogue: Catalogue, toy: Toy
) -> None:
    """Who changed something is for the operator's eyes."""
    model = catalogue.artefact(toy.models["sentiment"].subject)
    catalogue.publish(Publication("measured", "model", model.digest, [model], details={"metrics": {"accuracy": 0.9}}))
    catalogue.promote("measured", 1, reason="better")
    shown = stub.Show(pb.ShowRequest(name="measured"))
    assert MessageToDict(shown.metrics) == {"accuracy": 0.9}
    [change] = shown.alias_history
    assert (change.alias, change.action, change.version, change.previous) == ("production", "promote", 1, 0)
    assert change.reason == "better"
    assert "tester" not in MessageToJson(shown)


def test_lineage_goes_back_from_the_model_to_what_it_stands_on(readers: ZooStub) -> None:
    """Each step names its relation."""
    root = readers.Lineage(pb.LineageRequest(name="sentiment")).root
    assert (root.kind, root.relation) == ("model", "")
    parents = {(p.relation, p.kind, p.label) for p in root.parents}
    assert {("has_head", "head", "text-classification"), ("finetuned_from", "backbone", "toy")} <= parents
    [head] = [p for p in root.parents if p.kind == "head"]
    assert [(p.relation, p.kind) for p in head.parents] == [("head_on", "backbone")]


@pytest.mark.parametrize("method", ["Show", "Lineage"])
def test_what_does_not_exist_is_not_found_with_what_is_near(readers: ZooStub, method: str) -> None:
    """Names, versions and aliases."""
    request = pb.ShowRequest if method == "Show" else pb.LineageRequest
    code, message = refused(getattr(readers, method), request(name="sentimnt"))
    assert code == "NOT_FOUND"
    assert "sentiment" in message
    assert refused(getattr(readers, method), request(name="sentiment", version="7"))[0] == "NOT_FOUND"
    assert refused(getattr(readers, method), request(name="sentiment", version="canary"))[0] == "NOT_FOUND"


@pytest.mark.parametrize("name", ["", "../etc", "sentiment:1", "A B"])
def test_a_name_that_cannot_be_one_is_refused(readers: ZooStub, name: str) -> None:
    """Before anything is looked up."""
    assert refused(readers.Show, pb.ShowRequest(name=name))[0] == "INVALID_ARGUMENT"


# ------------------------------------------------------------------------------------------- changes
def test_promoting_and_rolling_back_move_the_alias_and_the_server_follows(
    stub: ZooStub, server: Running, catalogue: Catalogue, toy: Toy
) -> None:
    """With the reason in the history."""
    publish_model(catalogue, "sentiment", toy.backbone, ToyHead(seed=9))
    stub.Promote(pb.PromoteRequest(name="sentiment", version="1"))
    change = stub.Promote(pb.PromoteRequest(name="sentiment", reason="better on ours")).change
    assert (change.name, change.alias, change.version, change.previous) == ("sentiment", "production", 2, 1)
    assert catalogue.alias_history("sentiment", "production")[-1].reason == "better on ours"
    eventually(lambda: getattr(server.repository.resolve("sentiment"), "number", 0) == 2)
    back = stub.Rollback(pb.RollbackRequest(name="sentiment", reason="it was not")).change
    assert (back.action, back.version, back.previous) == ("rollback", 1, 2)
    eventually(lambda: getattr(server.repository.resolve("sentiment"), "number", 0) == 1)
    canary = stub.Promote(pb.PromoteRequest(name="sentiment", version="2", alias="canary")).change
    assert (canary.alias, catalogue.aliases("sentiment")) == ("canary", {"production": 1, "canary": 2})


def test_a_rollback_without_anything_before_is_refused(stub: ZooStub) -> None:
    """FAILED_PRECONDITION."""
    assert refused(stub.Rollback, pb.RollbackRequest(name="sentiment"))[0] == "FAILED_PRECONDITION"


@pytest.mark.parametrize("reason", ["x" * 1001, "two\nlines"])
def test_a_reason_is_one_line_of_reasonable_length(stub: ZooStub, reason: str) -> None:
    """It stays in the catalogue for good."""
    request = pb.PromoteRequest(name="sentiment", version="1", reason=reason)
    assert refused(stub.Promote, request)[0] == "INVALID_ARGUMENT"


def test_loading_answers_the_versions_that_are_loaded_then(stub: ZooStub, server: Running) -> None:
    """After an unload, none is until then."""
    stub.Unload(pb.UnloadRequest(name="sentiment"))
    assert server.repository.resolve("sentiment") is None
    assert list(stub.Load(pb.LoadRequest(name="sentiment")).versions) == [1]
    assert server.repository.resolve("sentiment") is not None


@pytest.mark.parametrize(
    "method, request_",
    [
        ("Promote", pb.PromoteRequest(name="sentiment", version="1")),
        ("Rollback", pb.RollbackRequest(name="sentiment")),
        ("Load", pb.LoadRequest(name="sentiment")),
        ("Unload", pb.UnloadRequest(name="sentiment")),
    ],
)
def test_without_the_operators_permission_nothing_changes(
    readers: ZooStub, toy_server: Running, method: str, request_: Any
) -> None:
    """PERMISSION_DENIED with the option that gives it."""
    generation = toy_server.repository.catalogue.generation()
    code, message = refused(getattr(readers, method), request_)
    assert code == "PERMISSION_DENIED"
    assert "headstock serve --allow-admin" in message
    assert toy_server.repository.catalogue.events()[0].action == "publish"
    assert toy_server.repository.catalogue.generation() == generation
    assert toy_server.repository.resolve("sentiment") is not None


# ------------------------------------------------------------------------------------------- watch
def test_a_watcher_hears_of_every_change_in_order_whoever_makes_it(
    stub: ZooStub, catalogue: Catalogue, toy: Toy
) -> None:
    """First the number of the newest event, then what happens after it."""
    call = stub.Watch(pb.WatchRequest(), timeout=20)
    start = next(call).start
    assert start == catalogue.events(1)[0].id
    publish_model(catalogue, "sentiment", toy.backbone, ToyHead(seed=9))
    catalogue.promote("sentiment", 2)
    events = [next(call).event for _ in range(2)]
    call.cancel()
    assert [e.id for e in events] == [start + 1, start + 2]
    assert [(e.action, e.subject) for e in events] == [
        ("publish", "sentiment:2"),
        ("promote", "sentiment:production"),
    ]


def test_a_watcher_that_lost_its_connection_misses_nothing(stub: ZooStub, catalogue: Catalogue) -> None:
    """It names the last event that it saw; 0 asks for all there ever were."""
    catalogue.promote("sentiment", 1)
    newest = catalogue.events(1)[0].id
    call = stub.Watch(pb.WatchRequest(after=0), timeout=20)
    assert next(call).start == newest
    assert [next(call).event.id for _ in range(newest)] == list(range(1, newest + 1))
    call.cancel()
    call = stub.Watch(pb.WatchRequest(after=newest - 1), timeout=20)
    next(call)
    assert next(call).event.subject == "sentiment:production"
    call.cancel()


def test_watchers_are_bounded_and_leave_room_when_they_go(server: Running) -> None:
    """UNAVAILABLE for one too many."""
    with grpc.insecure_channel(server.address) as channel:
        stub = ZooStub(channel)
        calls = [stub.Watch(pb.WatchRequest(), timeout=30) for _ in range(64)]
        for call in calls:
            next(call)
        assert refused(lambda r: next(stub.Watch(r)), pb.WatchRequest())[0] == "UNAVAILABLE"
        for call in calls:
            call.cancel()

        def again() -> bool:
            call = stub.Watch(pb.WatchRequest(), timeout=5)
            try:
                return next(call).HasField("start")
            except grpc.RpcError:
                return False
            finally:
                call.cancel()

        eventually(again)


def test_a_watch_ends_when_the_server_does(catalogue: Catalogue, toy: Toy) -> None:
    """It does not keep the server from stopping."""
    options = ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=64))
    ended = threading.Event()

    def watch() -> None:
        with pytest.raises(grpc.RpcError):
            list(call)
        ended.set()

    with background_server(catalogue.settings, options) as server:
        channel = grpc.insecure_channel(server.address)
        call = ZooStub(channel).Watch(pb.WatchRequest())
        assert next(call).start
        watcher = threading.Thread(target=watch)
        watcher.start()
    assert ended.wait(10)
    watcher.join()
    channel.close()
