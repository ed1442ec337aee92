"""`headstock bench`: a load on a server, and how it answered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headstock.errors import FailedPrecondition, InvalidInput

if TYPE_CHECKING:
    from headstock_server.bench.measure import Measured, Rules
    from headstock_server.bench.workload import Prepared

POSITIVE = click.FloatRange(min=0, min_open=True)
RATE = click.FloatRange(min=0, min_open=True, max=100_000)
"""Far more than one process can send."""
START_RATE = 16.0
"""Requests a second of the first trial of a search."""


@click.command("bench")
@click.argument("address")
@click.option("--model", "names", required=True, metavar="NAME[,NAME...]", help="Models to call, the busiest first.")
@click.option("--models", "mix", default="uniform", show_default=True, metavar="uniform|zipf:S", help="Their shares.")
@click.option("--concurrency", type=click.IntRange(min=1), help="Closed loop: callers that wait for their answers.")
@click.option("--rate", type=RATE, help="Open loop: requests a second, or where --find-rate starts.")
@click.option("--arrivals", type=click.Choice(["poisson", "constant"]), default="poisson", show_default=True)
@click.option("--find-rate", is_flag=True, help="Find the highest open-loop rate that keeps to --bound-ms.")
@click.option("--bound-ms", type=POSITIVE, help="The bound on the percentile for --find-rate.")
@click.option("--percentile", type=click.FloatRange(0, 100), default=99.0, show_default=True)
@click.option("--duration", type=POSITIVE, default=10.0, show_default=True, help="Seconds of a window.")
@click.option("--warmup", type=click.FloatRange(min=0), default=2.0, show_default=True, help="Seconds not counted.")
@click.option("--stable", is_flag=True, help="Windows until three in a row agree within 10 % in rate and percentile.")
@click.option("--max-windows", type=click.IntRange(min=3), default=10, show_default=True, help="Limit for --stable.")
@click.option("--lengths", default="16", show_default=True, metavar="N|FILE", help="Words of text; a file: one a line.")
@click.option(
    "--input",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='Send these instead of generated inputs: JSON lines such as {"text": "hello"}.',
)
@click.option("--inputs", default="", metavar="NAME,NAME", help="Send these inputs of the model and no others.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--timeout", type=POSITIVE, default=30.0, show_default=True, help="Seconds a request may take.")
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table", show_default=True)
def bench(
    address: str,
    names: str,
    mix: str,
    concurrency: int | None,
    rate: float | None,
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
    seed: int,
    timeout: float,
    format_: str,
) -> None:
    """Load the server at ADDRESS (host:port), any that speaks the Open Inference Protocol v2 over gRPC.

    Give --concurrency for callers that wait, --rate for arrivals that do not, or --find-rate with --bound-ms. Latencies
    of an open loop count from when a request was due, so a server that stalls is charged for those that queued behind.
    """
    _check(concurrency, rate, find_rate, bound_ms)
    from headstock_server.bench.measure import Rules
    from headstock_server.bench.report import record, render
    from headstock_server.bench.workload import Prepared, Workload

    workload = Workload(_split(names, "--model"), mix, lengths, _split(inputs), file, seed)
    prepared = Prepared(address, workload, timeout)
    rules = Rules(duration, warmup, percentile, stable, max_windows, timeout)
    search: dict[str, Any] | None = None
    if bound_ms is not None:
        measured, load, search = _search(address, prepared, rules, rate or START_RATE, bound_ms, arrivals, seed)
    elif rate is not None:
        measured = _open(address, prepared, rules, rate, arrivals, seed)
        load = {"loop": "open", "rate": rate, "arrivals": arrivals}
    else:
        measured = _closed(address, prepared, rules, concurrency or 1)
        load = {"loop": "closed", "concurrency": concurrency}
    click.echo(render(record(measured, {**load, "mix": mix, "seed": seed}, search), format_))


def _check(concurrency: int | None, rate: float | None, find_rate: bool, bound_ms: float | None) -> None:
    if find_rate != (bound_ms is not None):
        raise InvalidInput(
            "--find-rate and --bound-ms belong together, and one was given", fix="--find-rate --bound-ms 50"
        )
    if find_rate and concurrency is not None:
        raise InvalidInput("--find-rate is of an open loop; expected no --concurrency", fix="leave --concurrency out")
    if not find_rate and (concurrency is None) == (rate is None):
        raise InvalidInput("expected one of --concurrency, --rate and --find-rate", fix="--concurrency 8")


def _split(text: str, option: str = "") -> tuple[str, ...]:
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if option and (not parts or len(set(parts)) < len(parts)):
        raise InvalidInput(f"{option} is {text!r}; expected different names with commas between them")
    return parts


def _closed(address: str, prepared: Prepared, rules: Rules, concurrency: int) -> Measured:
    from headstock_server.bench.load import closed
    from headstock_server.bench.measure import measure

    return measure(address, closed(concurrency), prepared.requests(), rules, by_due=False)


def _open(address: str, prepared: Prepared, rules: Rules, rate: float, kind: Any, seed: int) -> Measured:
    from headstock_server.bench.arrivals import arrivals
    from headstock_server.bench.load import opened
    from headstock_server.bench.measure import measure

    loop = opened(lambda: arrivals(rate, kind, seed))
    return measure(address, loop, prepared.requests(), rules, by_due=True)


def _search(
    address: str, prepared: Prepared, rules: Rules, start: float, bound_ms: float, kind: Any, seed: int
) -> tuple[Measured, dict[str, Any], dict[str, Any]]:
    """The measurement at the highest rate sustained, its load, and the search; raises `FailedPrecondition` for none."""
    from headstock_server.bench.figures import label
    from headstock_server.bench.search import highest_rate

    seen: dict[float, Measured] = {}
    trials: list[dict[str, Any]] = []

    def sustains(rate: float) -> bool:
        measured = seen[rate] = _open(address, prepared, rules, rate, kind, seed)
        latency = measured.figures.latency_ms[label(rules.percentile)]
        met = (
            latency is not None and latency <= bound_ms and not measured.figures.errors and measured.stable is not False
        )
        trials.append({"rate": rate, "latency_ms": latency, "errors": dict(measured.figures.errors), "sustained": met})
        click.echo(f"{rate:.1f}/s: {'sustained' if met else 'not sustained'}", err=True)
        return met

    rate = highest_rate(sustains, start)
    if rate is None:
        raise FailedPrecondition(
            f"no rate down to {trials[-1]['rate']:.3g}/s kept {label(rules.percentile)} under {bound_ms:g} ms",
            fix="a longer --duration, or a higher --bound-ms",
        )
    load = {"loop": "open", "rate": rate, "arrivals": kind}
    search = {"rate": rate, "bound_ms": bound_ms, "percentile": rules.percentile, "trials": trials}
    return seen[rate], load, search
