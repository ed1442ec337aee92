"""Callers who name a tenant take turns with the others, by every transport."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence

import grpc
import pytest

from headstock.catalogue import Catalogue
from headstock.oip import open_inference_grpc_pb2 as pb
from headstock.oip.open_inference_grpc_pb2_grpc import GRPCInferenceServiceStub
from headstock.testing.toy import publish_toy
from headstock_server.app import Running, ServeOptions
from headstock_server.engine import EngineOptions
from headstock_server.scheduler import Ticket
from headstock_server.testing import background_server
from headstock_server.transport.tenant import TENANT, tenant_of

GREEDY = 40
TEXT = b"one two three four"

Send = Callable[[Running, str], None]


@pytest.fixture
def server(catalogue: Catalogue) -> Iterator[Running]:
    """A server whose passes hold few rows."""
    publish_toy(catalogue)
    options = ServeOptions(bind="127.0.0.1:0", http="127.0.0.1:0", engine=EngineOptions(token_budget=16))
    with background_server(catalogue.settings, options) as running:
        yield running


def _request() -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name="sentiment")
    message.inputs.add(name="text", datatype="BYTES", shape=[1])
    message.raw_input_contents.append(len(TEXT).to_bytes(4, "little") + TEXT)
    return message


def _metadata(tenant: str) -> tuple[tuple[str, str], ...]:
    return ((TENANT, tenant),) if tenant else ()


def _unary(server: Running, tenant: str) -> None:
    with grpc.insecure_channel(server.address) as channel:
        GRPCInferenceServiceStub(channel).ModelInfer(_request(), metadata=_metadata(tenant))


def _stream(server: Running, tenant: str) -> None:
    with grpc.insecure_channel(server.address) as channel:
        answers = GRPCInferenceServiceStub(channel).ModelStreamInfer(iter([_request()]), metadata=_metadata(tenant))
        assert not next(answers).error_message


def _rest(server: Running, tenant: str) -> None:
    body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [TEXT.decode()]}]}
    request = urllib.request.Request(
        f"http://{server.http_address}/v2/models/sentiment/infer",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", **dict(_metadata(tenant))},
    )
    with urllib.request.urlopen(request) as response:
        assert response.status == 200


def _place(server: Running, monkeypatch: pytest.MonkeyPatch, send: Send, tenant: str) -> int:
    """How many of the greedy tenant's answers were ready before that of `tenant`, who asked last."""
    order: list[str] = []
    deliver = server.scheduler._deliver

    def note(tickets: Sequence[Ticket]) -> None:
        order.extend(ticket.tenant for ticket in tickets)
        deliver(tickets)

    monkeypatch.setattr(server.scheduler, "_deliver", note)
    server.scheduler.hold(GREEDY + 1)
    threads = [threading.Thread(target=_unary, args=(server, "greedy")) for _ in range(GREEDY)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 20
    while server.scheduler.statistics().queued_rows < GREEDY:
        assert time.monotonic() < end
        time.sleep(0.005)
    send(server, tenant)
    for thread in threads:
        thread.join(20)
    assert len(order) == GREEDY + 1
    assert max(sum(record.models.values()) for record in server.scheduler.recent()) <= 4, "turns need small passes"
    return order.index(tenant_of(_metadata(tenant)))


@pytest.mark.parametrize("send", [_unary, _stream, _rest], ids=["unary", "stream", "rest"])
def test_a_tenant_does_not_wait_behind_everything_that_another_has_queued(
    server: Running, monkeypatch: pytest.MonkeyPatch, send: Send
) -> None:
    assert _place(server, monkeypatch, send, "modest") < 8


def test_a_caller_who_names_no_tenant_is_one_of_those_who_name_none(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take turns as one, so leaving the name out is no way past the others."""
    assert _place(server, monkeypatch, _unary, "") < 8
    assert tenant_of(None) == tenant_of([]) == tenant_of([(TENANT, "")]) == ""


def test_the_same_name_is_the_same_share_as_text_or_bytes() -> None:
    assert tenant_of([("x", "y"), (TENANT, "acme")]) == tenant_of([(TENANT, b"acme")]) != ""


def test_invented_names_fill_no_memory() -> None:
    assert len({tenant_of([(TENANT, f"t{i}")]) for i in range(10_000)}) <= 256
