"""The options of `headstock serve`, and the server that they describe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from headstock.errors import InvalidInput
from headstock_server.option_types import Finite, Size

if TYPE_CHECKING:
    from headstock.settings import Settings
    from headstock_server.app import ServeOptions
    from headstock_server.engine import EngineOptions
    from headstock_server.scheduler import SchedulerOptions

F = TypeVar("F", bound=Callable[..., Any])

MIB = 1 << 20

_OPTIONS = (
    click.option(
        "--bind",
        default="127.0.0.1:8081",
        show_default=True,
        metavar="HOST:PORT",
        help="Port 0 takes any free one.",
    ),
    click.option("--http", default="", metavar="HOST:PORT", help="Serve the protocol's REST form there too."),
    click.option(
        "--insecure-bind", is_flag=True, help="Allow a --bind that other machines can reach, without encryption."
    ),
    click.option("--models", metavar="NAME,NAME", help="Serve these and no others."),
    click.option(
        "--device",
        type=click.Choice(["cpu", "cuda", "tensorrt"]),
        default="cpu",
        show_default=True,
        help="What runs the passes; a GPU that is missing is an error, never the CPU instead.",
    ),
    click.option("--cuda-graphs", is_flag=True, help="Capture small passes at load and replay them, on a GPU."),
    click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of one pass."),
    click.option("--runners", type=click.IntRange(min=1), default=1, show_default=True, help="Passes at one time."),
    click.option(
        "--front-ends",
        type=click.IntRange(0, 64),
        default=0,
        show_default=True,
        help="Processes that speak gRPC in front of this one, for more requests than one core can parse.",
    ),
    click.option(
        "--grpc",
        type=click.Choice(["direct", "aio"]),
        default="direct",
        show_default=True,
        help="What carries gRPC calls; grpc.aio takes twice the processor time for each.",
    ),
    click.option(
        "--run-timeout",
        type=Finite(min=0, min_open=True),
        metavar="SECONDS",
        help="End a pass that computes for longer; its requests fail and the next ones run. No limit unless given.",
    ),
    click.option(
        "--max-queue-rows",
        type=click.IntRange(min=1),
        default=4096,
        show_default=True,
        help="Rows that may wait.",
    ),
    click.option(
        "--max-queue-tokens",
        type=click.IntRange(min=1),
        default=262_144,
        show_default=True,
        help="Tokens that may wait.",
    ),
    click.option(
        "--max-queue-seconds",
        type=Finite(min=0, min_open=True),
        default=5.0,
        show_default=True,
        help="Seconds of work that may wait, by what passes take now.",
    ),
    click.option(
        "--max-delay-ms",
        type=Finite(0, 60_000),
        default=0.0,
        show_default=True,
        help="Longest time that a pass with room left waits for company while nothing else runs.",
    ),
    click.option(
        "--patience-ms",
        type=Finite(1, 3_600_000),
        default=1000.0,
        show_default=True,
        help="Time after which a row without a deadline goes before all that came later.",
    ),
    click.option(
        "--token-budget",
        type=click.IntRange(1, 1 << 24),
        metavar="TOKENS",
        help="Largest pass, padding included; measured for each backbone when it is loaded unless given.",
    ),
    click.option(
        "--padding-waste",
        type=Finite(0, 0.9),
        default=0.10,
        show_default=True,
        help="Largest share of padding in a pass.",
    ),
    click.option(
        "--max-pass-rows",
        type=click.IntRange(min=1),
        default=1024,
        show_default=True,
        help="Largest pass in rows.",
    ),
    click.option(
        "--tenants",
        metavar="NAME,NAME",
        help="Callers who name one of these in the metadata take turns; '*' lets any name count. "
        "Without it all are one.",
    ),
    click.option(
        "--grace-seconds",
        type=Finite(min=0),
        default=30.0,
        show_default=True,
        help="Time that accepted requests get when the server stops.",
    ),
    click.option(
        "--max-message-mib",
        type=click.IntRange(1, 1024),
        default=16,
        show_default=True,
        help="Largest request in MiB.",
    ),
    click.option(
        "--allow-admin",
        is_flag=True,
        help="Let callers load, unload, promote and roll back models, and set logs and traces.",
    ),
    click.option(
        "--trace-file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Append traces of requests to this file, once a caller with that permission turns them on.",
    ),
    click.option(
        "--licences",
        type=click.Choice(["enforce", "warn", "off"]),
        default="enforce",
        show_default=True,
        help="What follows from licence verdicts: what policy.toml says, warnings only, or nothing.",
    ),
    click.option(
        "--batch-trace",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Append a line of JSON for each pass: what was in it, and why it was released.",
    ),
    click.option(
        "--memory-budget",
        type=Size(),
        metavar="SIZE",
        help="Memory for backbones, e.g. 2G: the least recently used leave for others and come back when asked for.",
    ),
    click.option(
        "--pin", "pins", multiple=True, metavar="NAME", help="A model whose backbone never leaves; repeatable."
    ),
    click.option(
        "--response-cache",
        type=Size(),
        default=0,
        metavar="SIZE",
        help="Keep answers for requests that are equal byte by byte, up to this size. Off unless given.",
    ),
    click.option("--strict", is_flag=True, help="Do not start if a model cannot be loaded."),
)


def serve_options(command: F) -> F:
    """Every option of `headstock serve`, in the order of its help."""
    # Decorators apply from the last to the first.
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def options_of(settings: Settings, asked: Mapping[str, Any]) -> ServeOptions:
    """The server that the options describe; `asked` is what click made of them."""
    # Not at the top: the help of `serve` must not wait for numpy and grpc.
    from headstock_server.app import ServeOptions
    from headstock_server.dataplane.limits import Limits

    return ServeOptions(
        bind=asked["bind"],
        http=asked["http"],
        front_ends=asked["front_ends"],
        grpc=asked["grpc"],
        insecure_bind=asked["insecure_bind"],
        models=_names(asked["models"]),
        tenants=_names(asked["tenants"]),
        grace=asked["grace_seconds"],
        strict=asked["strict"],
        batch_trace=asked["batch_trace"],
        memory_budget=asked["memory_budget"],
        pins=asked["pins"],
        response_cache=asked["response_cache"],
        licences=asked["licences"],
        allow_admin=asked["allow_admin"],
        trace_file=asked["trace_file"],
        engine=_engine(settings, asked),
        scheduler=_scheduler(asked),
        limits=Limits(message_bytes=asked["max_message_mib"] * MIB),
    )


def _engine(settings: Settings, asked: Mapping[str, Any]) -> EngineOptions:
    from headstock_server.engine import EngineOptions

    if asked["cuda_graphs"] and asked["device"] == "cpu":
        raise InvalidInput("--cuda-graphs is about passes on a GPU, and --device is cpu", fix="--device cuda")
    return EngineOptions(
        device=asked["device"],
        threads=asked["threads"],
        token_budget=asked["token_budget"],
        padding_waste=asked["padding_waste"],
        max_rows=asked["max_pass_rows"],
        run_seconds=asked["run_timeout"],
        cuda_graphs=asked["cuda_graphs"],
        gpu_memory=asked["memory_budget"],
        engine_cache=settings.cache / "tensorrt",
        certificates=settings.cache / "certificates",
    )


def _scheduler(asked: Mapping[str, Any]) -> SchedulerOptions:
    from headstock_server.scheduler import SchedulerOptions

    return SchedulerOptions(
        runners=asked["runners"],
        queue_rows=asked["max_queue_rows"],
        queue_tokens=asked["max_queue_tokens"],
        queue_seconds=asked["max_queue_seconds"],
        max_delay=asked["max_delay_ms"] / 1e3,
        patience=asked["patience_ms"] / 1e3,
    )


def _names(text: str | None) -> tuple[str, ...]:
    """The names of a list with commas."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())
