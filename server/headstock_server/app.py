"""Wires catalogue, repository, scheduler, data plane and transport into one server, and takes it down again."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from headstock.catalogue import Catalogue
from headstock.errors import HeadstockError
from headstock.graph import runtime_for
from headstock.settings import Settings
from headstock_server.dataplane.infer import DataPlane
from headstock_server.dataplane.limits import Limits
from headstock_server.dataplane.log_settings import LogControl
from headstock_server.dataplane.response_cache import ResponseCache
from headstock_server.dataplane.tenants import Tenants
from headstock_server.dataplane.trace import Tracer
from headstock_server.dataplane.waiters import SLOW_TURNS, TURNS, Waiters
from headstock_server.dataplane.zoo import ZooPlane
from headstock_server.engine import Engine, EngineOptions, MemoryBudget
from headstock_server.frontend.front_ends import FrontEnds
from headstock_server.repository import Repository
from headstock_server.repository.licence_gate import Mode
from headstock_server.scheduler import Scheduler, SchedulerOptions
from headstock_server.scheduler.trace import TraceFile
from headstock_server.transport.bind import check_bind
from headstock_server.transport.calls import Services
from headstock_server.transport.server import Carrier, GrpcServer, grpc_server, usable
from headstock_server.transport.services import services

log = logging.getLogger("headstock.server")


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How one server runs."""

    bind: str = "127.0.0.1:8081"
    """`HOST:PORT` or `unix:PATH`; port 0 takes any free one."""
    http: str = ""
    """`HOST:PORT` for the protocol's REST form; empty for none."""
    front_ends: int = 0
    """Processes that speak gRPC in front of this one; 0: this one does."""
    grpc: Carrier = "direct"
    """What carries gRPC calls: the server over its completion queue, or grpc.aio."""
    insecure_bind: bool = False
    """Allow an address that other machines can reach."""
    models: Sequence[str] = ()
    """Entries to serve; none given: all of them."""
    strict: bool = False
    """Refuse to start when a model cannot be loaded, instead of serving the others."""
    grace: float = 30.0
    """Seconds that accepted requests get when the server stops."""
    lame_duck: float = 0.3
    """Seconds for which new requests are refused in so many words before the port closes: what arrives at a closing
    gRPC server is cancelled without a reason, and watchers of the health need a moment to see it."""
    allow_admin: bool = False
    """Let callers load, unload, promote, roll back, and set logs and traces: this server does not ask who calls."""
    trace_file: Path | None = None
    """Where traces go once somebody asks for them; None can trace nothing."""
    licences: Mode = "enforce"
    """What follows from licence verdicts: what the policy says (`enforce`), warnings only, or nothing (`off`)."""
    engine: EngineOptions = field(default_factory=EngineOptions)
    scheduler: SchedulerOptions = field(default_factory=SchedulerOptions)
    limits: Limits = field(default_factory=Limits)
    memory_budget: int | None = None
    """Bytes that loaded backbones may take by estimate; the least recently used leave for others. None: no limit."""
    pins: Sequence[str] = ()
    """Entries whose backbones never leave."""
    response_cache: int = 0
    """Bytes of answers that are kept for equal requests; 0 keeps none."""
    batch_trace: Path | None = None
    """File that gets a line of JSON for each pass."""
    tenants: Sequence[str] = ()
    """Names of tenants that count, `*` for any; without them all callers are one."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that listens."""

    address: str
    """`HOST:PORT` with the real port."""
    http_address: str
    """The same for HTTP; empty if it is off."""
    plane: DataPlane
    scheduler: Scheduler
    repository: Repository


@asynccontextmanager
async def running(settings: Settings, options: ServeOptions | None = None) -> AsyncIterator[Running]:
    """A server for as long as the block runs; leaving it drains: no new requests, every accepted one answered."""
    options = options or ServeOptions()
    check_bind(options.bind, insecure=options.insecure_bind)
    if options.http:
        check_bind(options.http, insecure=options.insecure_bind, option="--http")
    tenants = Tenants(options.tenants)
    loop = asyncio.get_running_loop()
    options = replace(options, grpc=usable(options.grpc))
    waiters = Waiters(loop, SLOW_TURNS if options.grpc == "aio" else TURNS)
    with closing(Tracer(options.trace_file)) as tracer, Catalogue.open(settings, create=False) as catalogue:
        repository = await loop.run_in_executor(None, _open_repository, catalogue, options)
        trace = None if options.batch_trace is None else TraceFile(options.batch_trace)
        scheduler = Scheduler(waiters.deliver, options.scheduler, trace)
        plane = DataPlane(
            catalogue,
            repository,
            scheduler,
            waiters,
            options.limits,
            tracer,
            ResponseCache(options.response_cache) if options.response_cache else None,
            tenants,
        )
        zoo = ZooPlane(catalogue, repository, allowed=options.allow_admin)
        log_control = LogControl()
        after = AsyncExitStack()
        try:
            http_address = ""
            if options.http:
                # Only who serves HTTP needs its libraries.
                from headstock_server.transport.control import ControlHandlers
                from headstock_server.transport.rest import RestServer

                rest = RestServer(plane, ControlHandlers(plane.tracer, zoo, log_control))
                after.push_async_callback(rest.stop)
                http_address = _address(options.http, await rest.start(options.http))
            server = _transport(services(plane, zoo, log_control), options)
            port = await server.start(options.bind)
            yield Running(_address(options.bind, port), http_address, plane, scheduler, repository)
            await _drain(plane, server, options)
        finally:
            await after.aclose()
            await loop.run_in_executor(None, scheduler.close)
            if trace is not None:
                trace.close()
            plane.close()
            zoo.close()
            log_control.close()
            await loop.run_in_executor(None, repository.close)


async def serve(settings: Settings, options: ServeOptions, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; `announce` is called with the address once requests are taken."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(settings, options) as server:
        # What start-up made stays until the end; a full collection that walked it would stop every request for tens of
        # milliseconds.
        gc.collect()
        gc.freeze()
        announce(server.address)
        if server.http_address:
            announce(f"http://{server.http_address}")
        await stop.wait()
        log.info("stopping: finishing what was accepted")


def _open_repository(catalogue: Catalogue, options: ServeOptions) -> Repository:
    # Also where there is no model yet: the first one would fail much later.
    runtime_for(options.engine.device)
    repository = Repository(
        catalogue,
        Engine(options.engine, MemoryBudget(options.memory_budget)),
        options.models or None,
        strict=options.strict,
        licences=options.licences,
        pins=options.pins,
    )
    try:
        repository.start()
        repository.wait()
    except HeadstockError:
        repository.close()
        raise
    return repository


def _transport(table: Services, options: ServeOptions) -> GrpcServer | FrontEnds:
    if options.front_ends:
        return FrontEnds(table, options.limits.message_bytes, options.front_ends, options.grpc)
    return grpc_server(table, options.limits.message_bytes, options.grpc)


async def _drain(plane: DataPlane, server: GrpcServer | FrontEnds, options: ServeOptions) -> None:
    lame_duck = asyncio.create_task(asyncio.sleep(options.lame_duck))
    try:
        async with asyncio.timeout(options.grace):
            await plane.drain()
    except TimeoutError:
        log.warning("some requests were not answered within %.0f s", options.grace)
    await lame_duck
    # What is answered may still be on its way through the sockets.
    await server.stop(1.0)


def _address(bind: str, port: int) -> str:
    return bind if bind.startswith("unix:") else f"{bind.rpartition(':')[0]}:{port}"
