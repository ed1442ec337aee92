"""`serve --memory-budget`: more backbones than fit, and nobody gets a wrong answer or a failure for it."""

from __future__ import annotations

import gc
import logging
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from headstock.catalogue import Catalogue
from headstock.oip import open_inference_grpc_pb2 as pb
from headstock.oip.open_inference_grpc_pb2_grpc import GRPCInferenceServiceStub
from headstock.records import Edge, ModelIdentity, Publication, artefact_of
from headstock.settings import Settings
from headstock.testing.toy import ToyHead, publish_backbone, publish_model, publish_toy
from headstock_client import Client, ClientError
from headstock_server.app import Running, ServeOptions
from headstock_server.engine import EngineOptions
from headstock_server.engine.budget import MemoryBudget, Size
from headstock_server.engine.residency import ResidentKey
from headstock_server.testing import background_server

OPTIONS = ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=256))
TEXT = {"text": ["great order"]}
NAMES = "abc"


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Models `a`, `b` and `c`, each on a backbone of its own; those take equally much memory."""
    home: Path = tmp_path_factory.mktemp("three")
    settings = Settings.from_environment({"HEADSTOCK_HOME": str(home), "HEADSTOCK_ACTOR": "tester"})
    with Catalogue.open(settings) as catalogue:
        for seed, name in enumerate(NAMES):
            publish_model(
                catalogue, name, publish_backbone(catalogue, f"{name}-backbone", seed=seed), ToyHead(seed=seed)
            )
    return settings


@pytest.fixture(scope="module")
def answers(three: Settings) -> tuple[int, dict[str, bytes]]:
    """Bytes of one backbone, and what every model answers where all of them fit."""
    with background_server(three, OPTIONS) as server, Client(server.address) as client:
        given = {name: client.infer(name, TEXT).outputs["logits"].tobytes() for name in NAMES}
        return server.repository.engine.memory.report().size // len(NAMES), given


@pytest.fixture
def tight(three: Settings, answers: tuple[int, dict[str, bytes]]) -> Iterator[Running]:
    """A server with room for one backbone."""
    with background_server(three, replace(OPTIONS, memory_budget=int(answers[0] * 1.5))) as server:
        yield server


def test_room_for_one_answers_for_three_with_the_same_bits(
    tight: Running, answers: tuple[int, dict[str, bytes]]
) -> None:
    memory = tight.repository.engine.memory
    with Client(tight.address) as client:
        for turn in range(60):
            name = NAMES[turn % 3]
            assert client.infer(name, TEXT).outputs["logits"].tobytes() == answers[1][name]
            assert memory.report().size <= answers[0] * 1.5
    assert memory.report().evictions >= 58
    assert len(memory.report().residents) == 1


def test_what_does_not_fit_at_the_start_waits_for_its_first_request(tight: Running) -> None:
    rows = {row.name: row for row in tight.repository.index()}
    waiting = [name for name in NAMES if rows[name].state != "READY"]
    assert len(waiting) == 2
    assert all("the next request for it loads it" in rows[name].reason for name in waiting)
    with Client(tight.address) as client:
        client.infer(waiting[0], TEXT)
    assert {row.name: row.state for row in tight.repository.index()}[waiting[0]] == "READY"


def test_callers_of_more_backbones_than_fit_all_get_their_own_answer(
    three: Settings, answers: tuple[int, dict[str, bytes]]
) -> None:
    """Two fit, three are asked for at once; the pinned one never leaves."""
    options = replace(OPTIONS, memory_budget=int(answers[0] * 2.5), pins=("a",))
    wrong: list[str] = []
    with background_server(three, options) as server, Client(server.address) as client:
        pinned = server.repository.resolve("a")
        assert pinned is not None

        def ask(name: str) -> None:
            for _ in range(40):
                try:
                    if client.infer(name, TEXT).outputs["logits"].tobytes() != answers[1][name]:
                        wrong.append(name)
                except ClientError as error:
                    wrong.append(repr(error))

        callers = [threading.Thread(target=ask, args=(name,)) for name in NAMES]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert wrong == []
        now = server.repository.resolve("a")
        assert now is not None
        assert now.backbone is pinned.backbone
        assert server.repository.engine.memory.report().evictions >= 1


def test_a_backbone_larger_than_the_budget_is_refused_with_the_budget_that_would_do(three: Settings) -> None:
    with (
        background_server(three, replace(OPTIONS, memory_budget=1000)) as server,
        Client(server.address) as client,
        pytest.raises(ClientError, match="more than the whole memory budget of 1000 bytes"),
    ):
        client.infer("a", TEXT)


def test_pinning_an_unknown_model_stops_the_start(three: Settings) -> None:
    with (
        pytest.raises(Exception, match="'nobody'"),
        background_server(three, replace(OPTIONS, memory_budget=1 << 30, pins=("nobody",))),
    ):
        pass


def test_an_unloaded_model_gives_its_room_back(three: Settings, answers: tuple[int, dict[str, bytes]]) -> None:
    with background_server(three, replace(OPTIONS, allow_admin=True)) as server, Client(server.address) as client:
        server.repository.wait(30)
        before = server.repository.engine.memory.report().size
        server.repository.unload("b")
        assert client.infer("a", TEXT).outputs["logits"].tobytes() == answers[1]["a"]
        assert server.repository.engine.memory.report().size == before - answers[0]


def test_asking_for_figures_makes_no_backbone_leave(tight: Running) -> None:
    """A monitor that polls every model must not decide which of them stay in memory."""
    memory = tight.repository.engine.memory
    with Client(tight.address) as client, grpc.insecure_channel(tight.address) as channel:
        client.infer("a", TEXT)
        evictions, residents = memory.report().evictions, {m.name for m in tight.repository.loaded()}
        stub = GRPCInferenceServiceStub(channel)
        for name in NAMES:
            for version in ("", "1"):
                (row,) = stub.ModelStatistics(pb.ModelStatisticsRequest(name=name, version=version)).model_stats
                assert (row.name, row.version) == (name, "1")
                assert (row.inference_count > 0) == (name == "a")
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelStatistics(pb.ModelStatisticsRequest(name="d"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert residents == {"a"} == {m.name for m in tight.repository.loaded()}
    assert memory.report().evictions == evictions


def test_an_eviction_says_how_many_models_left(catalogue: Catalogue, caplog: pytest.LogCaptureFixture) -> None:
    """Models, not version numbers: most are version 1."""
    publish_toy(catalogue, ("one", "two", "three"))
    with caplog.at_level(logging.INFO), background_server(catalogue.settings, OPTIONS) as server:
        server.repository._evict(server.repository.loaded()[0].resident)
    assert "with 3 models" in caplog.text


class Circle:
    """What only the collector takes away."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Nobody collects garbage by himself, as on a server where nothing happens."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
def test_room_is_found_also_if_what_leaves_becomes_garbage_late() -> None:
    """Its last request was answered after garbage was first collected for the load that waits."""
    memory = MemoryBudget(100, wait_seconds=30.0)
    before, after = ResidentKey("sha256:a"), ResidentKey("sha256:b")
    session = Circle()
    with memory.room(before, Size(60, 0)):
        memory.watch(before, session, lambda: 0)
    waits = threading.Timer(0.8, lambda held: held.clear(), [held := [session]])
    waits.start()
    del session
    start = time.monotonic()
    with memory.room(after, Size(60, 0)):
        assert held == []
    assert time.monotonic() - start < 20


@pytest.mark.usefixtures("uncollected")
def test_a_model_that_cannot_be_loaded_takes_no_room(catalogue: Catalogue) -> None:
    """Its head is found to be wrong when its backbone's session is open already; the failure is remembered."""
    backbone = publish_backbone(catalogue)
    sound = publish_model(catalogue, "sound", backbone)
    head = catalogue.artefact(catalogue.artefact(sound.subject).identity["head"])
    wrong = artefact_of("head", {**head.identity, "out": 5}, head.files)
    model = artefact_of("model", ModelIdentity(backbone.subject, wrong.digest).to_json())
    catalogue.publish(
        Publication("wrong", "model", model.digest, [wrong, model], [Edge(wrong.digest, "head_on", backbone.subject)])
    )
    catalogue.remove("sound")
    with background_server(catalogue.settings, OPTIONS) as server:
        assert server.repository.loaded() == []
        assert any("finite weights of shape" in row.reason for row in server.repository.index())
        assert server.repository.engine.memory.report().residents == {}


@pytest.mark.usefixtures("uncollected")
def test_a_request_that_failed_keeps_no_model_loaded(catalogue: Catalogue) -> None:
    """The error, its frames, the request in them and its result, which is the error, would be a circle."""
    publish_toy(catalogue)
    message = pb.ModelInferRequest(model_name="sentiment", raw_input_contents=[b"\x06\x00\x00\x00poison"])
    message.inputs.add(name="text", datatype="BYTES", shape=[1])
    with background_server(catalogue.settings, OPTIONS) as server, grpc.insecure_channel(server.address) as channel:
        stub = GRPCInferenceServiceStub(channel)
        assert stub.ModelInfer.future(message).code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "not finite" in next(stub.ModelStreamInfer(iter([message]))).error_message
        gone = weakref.ref(server.repository.resolve("sentiment"))
        server.repository.unload("sentiment")
        end = time.monotonic() + 5
        while gone() is not None:
            assert time.monotonic() < end
            time.sleep(0.01)
