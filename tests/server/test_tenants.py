"""Tenants that the operator listed take turns, by every transport; other names are worth nothing."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import grpc
import pytest

from headstock.catalogue import Catalogue
from headstock.errors import InvalidInput
from headstock.oip import open_inference_grpc_pb2 as pb
from headstock.oip.open_inference_grpc_pb2_grpc import GRPCInferenceServiceStub
from headstock.testing.toy import publish_toy
from headstock_client import AsyncClient, Client
from headstock_server.app import Running, ServeOptions
from headstock_server.dataplane.tenants import ANY, Tenants
from headstock_server.engine import EngineOptions
from headstock_server.scheduler import Ticket
from headstock_server.scheduler.trace import as_json
from headstock_server.testing import background_server
from headstock_server.transport.tenant import TENANT, tenant_of

GREEDY = 40
TEXT = b"one two three four"

Send = Callable[[Running, str], None]


@contextmanager
def _serving(catalogue: Catalogue, *tenants: str) -> Iterator[Running]:
    """A server whose passes hold few rows."""
    publish_toy(catalogue)
    engine = EngineOptions(token_budget=16)
    options = ServeOptions(bind="127.0.0.1:0", http="127.0.0.1:0", engine=engine, tenants=tenants)
    with background_server(catalogue.settings, options) as running:
        yield running


@pytest.fixture
def server(catalogue: Catalogue) -> Iterator[Running]:
    """With three tenants."""
    with _serving(catalogue, "greedy", "modest", "quiet") as running:
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


def _client(server: Running, tenant: str) -> None:
    with Client(server.address, deadline=30, tenant=tenant) as client:
        client.infer("sentiment", {"text": [TEXT.decode()]})


def _async_client(server: Running, tenant: str) -> None:
    async def ask() -> None:
        async with AsyncClient(server.address, deadline=30, tenant=tenant) as client:
            await client.infer("sentiment", {"text": [TEXT.decode()]})

    asyncio.run(ask())


def _place(
    server: Running, monkeypatch: pytest.MonkeyPatch, send: Send, tenant: str, crowd: Sequence[str] = ("greedy",)
) -> int:
    """How many answers of the crowd, which asked `GREEDY` times, were ready before that of `tenant`, who asked last."""
    order: list[Ticket] = []
    last: list[Ticket] = []
    deliver, submit = server.scheduler._deliver, server.scheduler.submit

    def note(tickets: Sequence[Ticket]) -> None:
        order.extend(tickets)
        deliver(tickets)

    def see(ticket: Ticket, **options: bool) -> None:
        last[:] = [ticket]
        submit(ticket, **options)

    monkeypatch.setattr(server.scheduler, "_deliver", note)
    server.scheduler.hold(GREEDY + 1)
    threads = [threading.Thread(target=_unary, args=(server, crowd[i % len(crowd)])) for i in range(GREEDY)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 20
    while server.scheduler.statistics().queued_rows < GREEDY:
        assert time.monotonic() < end
        time.sleep(0.005)
    monkeypatch.setattr(server.scheduler, "submit", see)
    send(server, tenant)
    for thread in threads:
        thread.join(20)
    assert len(order) == GREEDY + 1
    assert max(sum(record.models.values()) for record in server.scheduler.recent()) <= 4, "turns need small passes"
    return order.index(last[0])


@pytest.mark.parametrize(
    "send",
    [_unary, _stream, _rest, _client, _async_client],
    ids=["unary", "stream", "rest", "client", "async client"],
)
def test_a_tenant_does_not_wait_behind_everything_that_another_has_queued(
    server: Running, monkeypatch: pytest.MonkeyPatch, send: Send
) -> None:
    assert _place(server, monkeypatch, send, "modest") < 8


def test_a_caller_who_names_no_tenant_waits_for_a_turn_of_those_who_name_none(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take turns as one: who names none is behind the others who name none, and not behind a tenant's queue."""
    assert _place(server, monkeypatch, _unary, "", crowd=("", "greedy")) >= 2 * (GREEDY // 2 - 4)
    assert _place(server, monkeypatch, _unary, "") < 8


def test_a_name_that_is_not_listed_is_no_turn_of_its_own(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who invents a name for every request has together with all others without a name one turn in two."""
    invented = [f"invented-{i}" for i in range(GREEDY)]
    assert _place(server, monkeypatch, _unary, "modest", crowd=invented) < 8
    assert _place(server, monkeypatch, _unary, "invented-x", crowd=invented) >= GREEDY - 4


def test_a_server_that_was_told_of_no_tenants_has_none(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    with _serving(catalogue) as server:
        assert _place(server, monkeypatch, _unary, "modest") >= GREEDY - 4
        assert {name for record in server.scheduler.recent() for name in record.tenants} == {""}


def test_where_any_name_counts_each_has_its_turn(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    with _serving(catalogue, ANY) as server:
        assert _place(server, monkeypatch, _unary, "whoever") < 8


def test_passes_say_whose_rows_they_held(server: Running) -> None:
    server.scheduler.hold(2)
    threads = [threading.Thread(target=_unary, args=(server, name)) for name in ("quiet", "unheard of")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    (record,) = server.scheduler.recent()
    assert dict(record.tenants) == {"quiet": 1, "": 1}
    assert as_json(record)["tenants"] == {"quiet": 1, "": 1}


def test_the_same_name_is_the_same_tenant_as_text_or_bytes() -> None:
    assert tenant_of([("x", "y"), (TENANT, "acme")]) == tenant_of([(TENANT, b"acme")]) == "acme"
    assert tenant_of(None) == tenant_of([]) == tenant_of([(TENANT, "")]) == ""
    assert tenant_of([(TENANT, b"\xff\xfe")]) != ""


@pytest.mark.parametrize("name", ["", "a\nb", "caf\u00e9", "x" * 257])
def test_a_name_that_nobody_can_send_is_refused_when_the_server_starts(name: str) -> None:
    with pytest.raises(InvalidInput, match="expected 1 to 256 printable ASCII characters"):
        Tenants([name])


@pytest.mark.parametrize("make", [Client, AsyncClient])
def test_the_clients_refuse_a_name_that_grpc_cannot_carry(make: type[Client] | type[AsyncClient]) -> None:
    with pytest.raises(ValueError, match="expected at most 256 printable ASCII characters"):
        make("127.0.0.1:1", tenant="caf\u00e9")
