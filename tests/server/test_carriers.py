"""What the handlers are promised by whatever carries their calls: the direct server and grpc.aio alike."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
import pytest

from headstock.errors import FailedPrecondition
from headstock_server.transport import aio, core, direct
from headstock_server.transport.calls import Handler
from headstock_server.transport.completions import Completions
from headstock_server.transport.server import Carrier, grpc_server, usable

LIMIT = 1 << 20
PATIENCE = 10.0

Served = tuple[str, grpc.aio.Channel]
"""The server's address and a channel to it."""


@pytest.fixture(params=["direct", "aio"])
def carrier(request: pytest.FixtureRequest) -> Carrier:
    return cast(Carrier, request.param)


@asynccontextmanager
async def serving(carrier: Carrier, **handlers: Handler) -> AsyncIterator[Served]:
    server = grpc_server({"toy.Toy": handlers}, LIMIT, carrier)
    port = await server.start("127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            yield f"127.0.0.1:{port}", channel
        finally:
            await server.stop(0)


def unary(handle: Callable[[bytes, Any], Coroutine[Any, Any, bytes]]) -> Handler:
    return grpc.unary_unary_rpc_method_handler(handle)


async def echo(data: bytes, context: Any) -> bytes:
    return data


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 30))


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(call, PATIENCE)
    return caught.value


def test_a_handler_sees_metadata_and_deadline_and_may_send_trailing_metadata(carrier: Carrier) -> None:
    seen: dict[str, Any] = {}

    async def handle(data: bytes, context: Any) -> bytes:
        seen.update(context.invocation_metadata())
        seen["remaining"] = context.time_remaining()
        context.set_trailing_metadata((("note", "é".encode().hex()), ("note-bin", b"\xff\x00")))
        return data * 2

    async def test() -> None:
        async with serving(carrier, Say=unary(handle)) as (_, channel):
            call = channel.unary_unary("/toy.Toy/Say")(b"ab", metadata=(("who", "me"), ("key-bin", b"\x00\xfe")))
            assert await call == b"abab"
            assert dict(await call.trailing_metadata()) == {"note": "c3a9", "note-bin": b"\xff\x00"}
            assert seen["remaining"] is None
            await channel.unary_unary("/toy.Toy/Say")(b"", timeout=5)

    run(test())
    assert (seen["who"], seen["key-bin"]) == ("me", b"\x00\xfe")
    assert 0 < seen["remaining"] <= 5.1  # gRPC rounds what it sends up


def test_many_calls_of_many_connections_each_get_their_own_answer(carrier: Carrier) -> None:
    async def handle(data: bytes, context: Any) -> bytes:
        if int(data) % 3 == 0:
            await asyncio.sleep(0)
        return b"answer to " + data

    async def test() -> None:
        async with serving(carrier, Say=unary(handle)) as (address, channel):
            own_connection = [("grpc.use_local_subchannel_pool", 1)]
            async with grpc.aio.insecure_channel(address, options=own_connection) as other:
                say = [c.unary_unary("/toy.Toy/Say") for c in (channel, other)]
                answers = await asyncio.gather(*(say[i % 2](str(i).encode()) for i in range(600)))
            assert answers == [f"answer to {i}".encode() for i in range(600)]

    run(test())


def test_an_aborted_call_ends_with_its_code_words_and_details(carrier: Carrier) -> None:
    async def handle(data: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: ü", (("details-bin", b"\x08\x05"),))
        return data

    async def test() -> None:
        async with serving(carrier, Say=unary(handle)) as (_, channel):
            error = await failure(channel.unary_unary("/toy.Toy/Say")(b""))
            assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing: ü")
            assert ("details-bin", b"\x08\x05") in [tuple(pair) for pair in error.trailing_metadata()]

    run(test())


def test_a_bug_in_a_handler_ends_its_call_and_tells_the_log_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def handle(data: bytes, context: Any) -> bytes:
        raise RuntimeError("/secret/path")

    async def answers(data: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"one"
        raise RuntimeError("/secret/path")

    async def test() -> None:
        stream = grpc.unary_stream_rpc_method_handler(answers)
        async with serving("direct", Say=unary(handle), Tell=stream, Echo=unary(echo)) as (_, channel):

            async def told() -> list[bytes]:
                return [answer async for answer in channel.unary_stream("/toy.Toy/Tell")(b"")]

            for call in (channel.unary_unary("/toy.Toy/Say")(b""), told()):
                error = await failure(call)
                assert error.code() is grpc.StatusCode.INTERNAL
                assert "secret" not in (error.details() or "")
            assert await channel.unary_unary("/toy.Toy/Echo")(b"on") == b"on"

    run(test())
    assert "/secret/path" in caplog.text


def test_an_unknown_method_is_unimplemented(carrier: Carrier) -> None:
    async def test() -> None:
        async with serving(carrier, Say=unary(echo)) as (_, channel):
            for method in ("/toy.Toy/Sing", "/other.Service/Say"):
                error = await failure(channel.unary_unary(method)(b""))
                assert error.code() is grpc.StatusCode.UNIMPLEMENTED

    run(test())


def test_a_request_beyond_the_limit_never_reaches_the_handler(carrier: Carrier) -> None:
    async def test() -> None:
        async with serving(carrier, Say=unary(echo)) as (_, channel):
            say = channel.unary_unary("/toy.Toy/Say")
            error = await failure(say(bytes(LIMIT + 1)))
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert len(await say(bytes(LIMIT))) == LIMIT

    run(test())


def test_a_call_that_ends_without_a_request_gets_an_error(carrier: Carrier) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        return
        yield

    async def test() -> None:
        async with serving(carrier, Say=unary(echo)) as (_, channel):
            call = channel.stream_unary("/toy.Toy/Say")(nothing(), timeout=2)
            assert (await failure(call)).code() is not grpc.StatusCode.OK

    run(test())


@pytest.mark.parametrize("how", ["cancelled", "deadline", "connection"])
def test_who_leaves_cancels_the_handler(carrier: Carrier, how: str) -> None:
    async def test() -> None:
        begun, left = asyncio.Event(), asyncio.Event()

        async def handle(data: bytes, context: Any) -> bytes:
            begun.set()
            try:
                await asyncio.sleep(PATIENCE)
            except asyncio.CancelledError:
                left.set()
                raise
            return data

        async with serving(carrier, Say=unary(handle)) as (_, channel):
            call = channel.unary_unary("/toy.Toy/Say")(b"", timeout=0.3 if how == "deadline" else None)
            waiting = asyncio.ensure_future(call)
            await asyncio.wait_for(begun.wait(), PATIENCE)
            if how == "cancelled":
                call.cancel()
            elif how == "connection":
                await channel.close()
            await asyncio.wait_for(left.wait(), PATIENCE)
            with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
                await waiting

    run(test())


def test_a_stream_is_answered_in_order_until_the_caller_closes_it(carrier: Carrier) -> None:
    async def both(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        count = 0
        async for request in requests:
            count += 1
            yield request.upper()
        context.set_trailing_metadata((("count", str(count)),))

    async def words() -> AsyncIterator[bytes]:
        for i in range(300):
            yield f"word {i}".encode()

    async def test() -> None:
        async with serving(carrier, Talk=grpc.stream_stream_rpc_method_handler(both)) as (_, channel):
            call = channel.stream_stream("/toy.Toy/Talk")(words())
            assert [answer async for answer in call] == [f"WORD {i}".encode() for i in range(300)]
            assert dict(await call.trailing_metadata())["count"] == "300"

    run(test())


def test_who_reads_nothing_slows_the_stream_down(carrier: Carrier) -> None:
    made: list[int] = []

    async def many(data: bytes, context: Any) -> AsyncIterator[bytes]:
        for i in range(1000):
            made.append(i)
            yield bytes(LIMIT // 2)

    async def test() -> None:
        async with serving(carrier, Tell=grpc.unary_stream_rpc_method_handler(many)) as (_, channel):
            call = channel.unary_stream("/toy.Toy/Tell")(b"")
            await call.read()
            await asyncio.sleep(0.3)
            assert len(made) < 100
            call.cancel()

    run(test())


def test_leaving_a_stream_closes_its_answers(carrier: Carrier) -> None:
    async def test() -> None:
        closed = asyncio.Event()

        async def tell(data: bytes, context: Any) -> AsyncIterator[bytes]:
            try:
                yield b"first"
                await asyncio.sleep(PATIENCE)
            finally:
                closed.set()

        async with serving(carrier, Tell=grpc.unary_stream_rpc_method_handler(tell)) as (_, channel):
            call = channel.unary_stream("/toy.Toy/Tell")(b"")
            assert await call.read() == b"first"
            call.cancel()
            await asyncio.wait_for(closed.wait(), PATIENCE)

    run(test())


def test_more_calls_than_may_be_open_are_refused_until_one_ends(
    carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (aio, direct):
        monkeypatch.setattr(module, "CONCURRENT_RPCS", 2)

    async def test() -> None:
        release, begun = asyncio.Event(), asyncio.Semaphore(0)

        async def handle(data: bytes, context: Any) -> bytes:
            if data:
                begun.release()
                await release.wait()
            return data

        async with serving(carrier, Say=unary(handle)) as (_, channel):
            say = channel.unary_unary("/toy.Toy/Say")
            held = [asyncio.ensure_future(say(b"hold")) for _ in range(2)]
            for _ in held:
                await asyncio.wait_for(begun.acquire(), PATIENCE)
            code = None
            until = time.monotonic() + PATIENCE
            while code is not grpc.StatusCode.RESOURCE_EXHAUSTED and time.monotonic() < until:
                try:
                    await say(b"")
                except grpc.aio.AioRpcError as error:
                    code = error.code()
            assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
            release.set()
            assert await asyncio.gather(*held) == [b"hold"] * 2
            while time.monotonic() < until:
                try:
                    assert await say(b"") == b""
                    return
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.01)
            raise AssertionError("refused for ever")

    run(test())


def test_stopping_waits_for_what_runs_and_then_cancels_it(carrier: Carrier) -> None:
    async def test() -> None:
        ended: list[str] = []

        async def handle(data: bytes, context: Any) -> bytes:
            begun.set()
            try:
                await asyncio.sleep(float(data))
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise
            ended.append("finished")
            return data

        for seconds, how in ((b"0.2", "finished"), (b"10", "cancelled")):
            begun = asyncio.Event()
            server = grpc_server({"toy.Toy": {"Say": unary(handle)}}, LIMIT, carrier)
            port = await server.start("127.0.0.1:0")
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                call = asyncio.ensure_future(channel.unary_unary("/toy.Toy/Say")(seconds))
                await asyncio.wait_for(begun.wait(), PATIENCE)
                await asyncio.wait_for(server.stop(1.0), PATIENCE)
                results = await asyncio.gather(call, return_exceptions=True)
            await asyncio.sleep(0)
            assert ended[-1] == how
            assert (results == [seconds]) == (how == "finished")
        assert not [thread for thread in threading.enumerate() if thread.name == "grpc"]

    run(test())


def test_a_port_that_is_taken_is_an_error_with_its_address(carrier: Carrier) -> None:
    async def test() -> None:
        server = grpc_server({}, LIMIT, carrier)
        address = f"127.0.0.1:{await server.start('127.0.0.1:0')}"
        try:
            with pytest.raises(FailedPrecondition, match=address):
                await grpc_server({}, LIMIT, carrier).start(address)
        finally:
            await server.stop(0)

    run(test())


def test_a_grpcio_without_the_needed_parts_is_served_by_grpc_aio_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(core, "_NEEDED", ("Server.start", "Server.sing", "Nothing.at_all"))
    services: Mapping[str, Mapping[str, Handler]] = {}

    async def test() -> None:
        server = grpc_server(services, LIMIT, usable("direct"))
        assert isinstance(server, aio.AioServer)
        await server.start("127.0.0.1:0")
        await server.stop(0)

    with caplog.at_level(logging.WARNING):
        run(test())
    assert "no Server.sing and no Nothing.at_all" in caplog.text


def test_a_step_that_fails_holds_up_no_other_call(caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> None:
        raise RuntimeError("a step's own bug")

    async def test() -> None:
        completions = Completions(asyncio.get_running_loop())
        done = asyncio.Event()
        completions.on_loop(fails)
        completions.on_loop(done.set)
        await asyncio.wait_for(done.wait(), PATIENCE)

    run(test())
    assert "a step's own bug" in caplog.text


def test_this_grpcio_has_the_needed_parts() -> None:
    assert core.missing() == []
