"""`headstock bench`: a load on a server, and how it answered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headstock.errors import InvalidInput

if TYPE_CHECKING:
    from headstock_server.bench.runs import Run, Runner

POSITIVE = click.FloatRange(min=0, min_open=True)
START_RATE = 16.0
"""Requests a second of the first trial of a search."""
MOST_RATE = 100_000.0
"""Far more than one process can send."""


class Loads(click.ParamType[tuple[float, ...]]):
    """Different numbers with commas between them, all above 0."""

    name = "loads"

    def __init__(self, number: type[int] | type[float], most: float) -> None:
        """`number` is what each is; none is more than `most`."""
        self._number, self._most = number, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """The numbers; a usage error for what is none."""
        if isinstance(value, tuple):
            return value
        try:
            found = tuple(self._number(part) for part in str(value).split(","))
        except ValueError:
            found = ()
        if not found or len(set(found)) < len(found) or not all(0 < n <= self._most for n in found):
            kind = "whole numbers" if self._number is int else "numbers"
            self.fail(f"{value!r} is not {kind} above 0, up to {self._most:g}, with commas between them", param, ctx)
        return found


@click.command("bench")
@click.argument("address", metavar="HOST:PORT")
@click.option("--models", required=True, metavar="NAME[,NAME...]", help="Models to call, the busiest first.")
@click.option(
    "--mix",
    default="uniform",
    show_default=True,
    metavar="uniform|zipf:S",
    help="The models' shares of the requests: equal, or falling with the power S of their place.",
)
@click.option(
    "--concurrency",
    type=Loads(int, 10_000),
    metavar="N[,N...]",
    help="Closed loop: callers that wait for their answers. Several are measured one after the other.",
)
@click.option(
    "--rate",
    type=Loads(float, MOST_RATE),
    metavar="R[,R...]",
    help="Open loop: requests a second, one or several, or where --find-rate starts.",
)
@click.option(
    "--arrivals",
    type=click.Choice(["poisson", "constant"]),
    default="poisson",
    show_default=True,
    help="Open loop: requests come at random or at even distances.",
)
@click.option("--find-rate", is_flag=True, help="Find the highest open-loop rate that keeps to --bound-ms.")
@click.option("--bound-ms", type=POSITIVE, help="The bound on the percentile for --find-rate.")
@click.option(
    "--percentile",
    type=click.FloatRange(0, 100),
    default=99.0,
    show_default=True,
    help="Percentile of the latency that --bound-ms bounds and --stable compares.",
)
@click.option("--duration", type=POSITIVE, default=10.0, show_default=True, help="Seconds of a window.")
@click.option("--warmup", type=click.FloatRange(min=0), default=2.0, show_default=True, help="Seconds not counted.")
@click.option("--stable", is_flag=True, help="Windows until three in a row agree within 10 % in rate and percentile.")
@click.option("--max-windows", type=click.IntRange(min=3), default=10, show_default=True, help="Limit for --stable.")
@click.option(
    "--lengths",
    default="16",
    show_default=True,
    metavar="N|FILE",
    help="Words of generated text, not tokens: a tokenizer adds its own. Tokens, if --inputs sends token ids. "
    "A file has one length a line.",
)
@click.option(
    "--input",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='Send these instead of generated inputs: JSON lines such as {"text": "hello"}.',
)
@click.option("--inputs", default="", metavar="NAME,NAME", help="Send these inputs of the model and no others.")
@click.option(
    "--tenants",
    type=click.IntRange(min=1),
    help="Send as so many tenants in turn, named in the metadata; without it as nobody.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of the generated inputs, the order of the models and the arrivals.",
)
@click.option("--timeout", type=POSITIVE, default=30.0, show_default=True, help="Seconds a request may take.")
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Draw the latency percentiles over the loads, or over the trials of --find-rate, as SVG.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="table for people, json for programs.",
)
def bench(
    address: str,
    models: str,
    mix: str,
    concurrency: tuple[int, ...] | None,
    rate: tuple[float, ...] | None,
    arrivals: Any,
    find_rate: bool,
    bound_ms: float | None,
    percentile: float,
    duration: float,
    warmup: float,
    stable: bool,
    max_windows: int,
    lengths: str,
    file: Path | None,
    inputs: str,
    tenants: int | None,
    seed: int,
    timeout: float,
    picture: Path | None,
    format_: str,
) -> None:
    """Load the server at HOST:PORT, any that speaks the Open Inference Protocol v2 over gRPC.

    Give --concurrency for callers that wait, --rate for arrivals that do not, or --find-rate with --bound-ms. Latencies
    of an open loop count from when a request was due, so a server that stalls is charged for those that queued behind.
    With several loads, JSON is a list of objects instead of one.
    """
    _check(concurrency, rate, find_rate, bound_ms)
    _check_picture(picture)
    from headstock_server.bench.measure import Rules
    from headstock_server.bench.report import record, render
    from headstock_server.bench.runs import Runner
    from headstock_server.bench.workload import Prepared, Workload

    workload = Workload(_split(models, "--models"), mix, lengths, _split(inputs), file, seed, tenants or 0)
    prepared = Prepared(address, workload, timeout)
    rules = Rules(duration, warmup, percentile, stable, max_windows, timeout)
    runs, drawn = _measured(Runner(address, prepared, rules, arrivals, seed), concurrency, rate, bound_ms)
    if picture is not None:
        _draw(picture, f"{models} at {address}", drawn, bound_ms)
    about = {"mix": mix, "tenants": tenants, "seed": seed}
    click.echo(render([record(run.measured, {**run.load, **about}, run.search) for run in runs], format_))


def _check(
    concurrency: tuple[int, ...] | None, rate: tuple[float, ...] | None, find_rate: bool, bound_ms: float | None
) -> None:
    if find_rate != (bound_ms is not None):
        raise InvalidInput(
            "--find-rate and --bound-ms belong together, and one was given", fix="--find-rate --bound-ms 50"
        )
    if find_rate and concurrency is not None:
        raise InvalidInput("--find-rate is of an open loop; expected no --concurrency", fix="leave --concurrency out")
    if find_rate and rate is not None and len(rate) > 1:
        raise InvalidInput(f"--find-rate starts at one rate; got {len(rate)}", fix=f"--find-rate --rate {rate[0]:g}")
    if not find_rate and (concurrency is None) == (rate is None):
        raise InvalidInput("expected one of --concurrency, --rate and --find-rate", fix="--concurrency 8")


def _check_picture(path: Path | None) -> None:
    # Before the load: a measurement of minutes must not be lost to a folder that is not there.
    if path is not None and not path.absolute().parent.is_dir():
        raise InvalidInput(
            f"cannot draw to {str(path)!r}: its folder does not exist",
            fix="--picture with a file in a folder that exists",
        )


def _split(text: str, option: str = "") -> tuple[str, ...]:
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if option and (not parts or len(set(parts)) < len(parts)):
        raise InvalidInput(
            f"{option} is {text!r}; expected different names with commas between them",
            fix=f"{option} {','.join(dict.fromkeys(parts)) or 'NAME'}",
        )
    return parts


def _measured(
    runner: Runner, concurrency: tuple[int, ...] | None, rate: tuple[float, ...] | None, bound_ms: float | None
) -> tuple[list[Run], list[Run]]:
    """The runs that are reported, and those that are drawn."""
    if bound_ms is not None:
        best, trials = runner.highest(
            rate[0] if rate else START_RATE, bound_ms, lambda text: click.echo(text, err=True)
        )
        return [best], trials
    runs = [runner.closed(n) for n in concurrency] if concurrency else [runner.opened(r) for r in rate or ()]
    return runs, runs


def _draw(path: Path, title: str, runs: list[Run], bound_ms: float | None) -> None:
    from headstock_server.bench.picture import Point, picture

    across = "callers" if runs[0].load["loop"] == "closed" else "requests a second"
    points = [Point(run.size, run.measured.figures) for run in runs]
    path.write_text(picture(title, across, points, bound_ms), encoding="utf-8")
