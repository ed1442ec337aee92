"""The way of a request through the server: a model that costs nothing, and one caller of a model that costs something.

The no-op model makes 384 floats of a word; its answers per second are held against grpc.aio answering the same bytes
without any of our code, on the same core in the same run. The bar is the best that a peer reached on the machine that
all were measured on (`peers.py` measures two of them here): 2,650 a second under a load generator in C where bare
grpc.aio made 3,700, which is 0.72; under this client it was 1,770, which is 0.48. Bare grpc.aio had to share its core
with its client there and has it to itself here, so these bars are on the high side. One caller of MiniLM is held
against a pass of one row in bare ONNX Runtime.

With front ends, processes that speak gRPC for the engine, the engine's CPU time per answer is its ceiling on one core:
what front ends take off it is what more of them can scale to. All of them share core 0 here, so rates with front ends
say little and are not compared. The same server on `--grpc aio` stands beside it. `--profile` says in which
functions the time of a no-op goes.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

from _answers import by_bare, check_answers
from _common import Load, Server, closed_loop, ids_request, median, pin_load, report, serve, started, verdict
from _limit import BareOrt
from _noop import FLOATS, NOOP, check_noop, noop_request, publish_noop
from _options import options
from _spy import profile
from _zoo import TAP, VOCABULARY, add_models, graph_of, head_weight, minilm_zoo
from headstock.graph import Graph

COUNTS, CALLERS, LENGTH = (0, 1, 2), 32, 32
BARE, AIO = "bare grpc.aio", "--grpc aio"
BEST_PEER, BEST_PEER_HERE, ADDED_MS, GAIN = 0.72, 0.48, 2.0, 1.5


def main() -> int:
    """Measure, print, return 0 if every target is met."""
    asked = options(__doc__, seconds=2.0, rounds=5, add=_add)
    pin_load()
    with minilm_zoo() as home, ExitStack() as stack:
        publish_noop(home)
        (model,) = add_models(home, 1)
        echo = [sys.executable, str(Path(__file__).with_name("_echo_server.py")), str(FLOATS)]
        servers = {BARE: stack.enter_context(started(echo, home))}
        for count in asked.counts:
            with_them = serve(home, "--models", f"{NOOP},{model}", "--front-ends", str(count))
            servers[str(count)] = stack.enter_context(with_them)
        servers[AIO] = stack.enter_context(serve(home, "--models", f"{NOOP},{model}", "--grpc", "aio"))
        for server in list(servers.values())[1:]:
            check_noop(server.address)
        rate: dict[str, list[float]] = {name: [] for name in servers}
        spent: dict[str, list[float]] = {name: [] for name in servers}
        for _ in range(asked.rounds):
            for name, server in servers.items():
                before = server.cpu_seconds(children=False)
                load = no_op_load(server, asked.seconds)
                spent[name].append((server.cpu_seconds(children=False) - before) / load.answers)
                rate[name].append(load.rate)
        added, bare_ms = one_caller(home, servers["0"], model, asked)
        if asked.profile:
            show_profile(servers["0"], asked.seconds)
    to_bare, to_aio = (
        median([ours / other for ours, other in zip(rate["0"], rate[name], strict=True)]) for name in (BARE, AIO)
    )
    gain = {
        name: median([none / some for none, some in zip(spent["0"], spent[name], strict=True)])
        for name in map(str, asked.counts)
    }
    ms = {name: 1000 * median(values) for name, values in spent.items()}
    report(
        f"a model of {FLOATS} floats that costs nothing, {CALLERS} callers",
        ["front ends", "answers/s on core 0", "engine CPU ms/answer", "answers/s the engine's core could give"],
        [[n, f"{median(rate[n]):.0f}", f"{ms[n]:.3f}", f"{1000 / ms[n]:.0f}"] for n in ms],
        {
            "rate": {name: median(values) for name, values in rate.items()},
            "no_op_to_bare": to_bare,
            "no_op_direct_to_aio": to_aio,
            "engine_cpu_ms": ms,
            "ceiling_gain": gain,
            "one_caller_added_ms": added,
            "bare_pass_p50_ms": bare_ms,
        },
    )
    print(f"\nno-op, --grpc direct / --grpc aio: {to_aio:.2f}")
    verdict("no-op, ours / bare grpc.aio, for the best peer under this client", to_bare, BEST_PEER_HERE)
    met = [
        verdict("no-op, ours / bare grpc.aio, for the best peer under any client", to_bare, BEST_PEER),
        verdict(f"one caller, MiniLM, p50 over bare's {bare_ms:.1f} ms, ms", added, ADDED_MS, at_most=True),
    ]
    if "1" in gain:
        met.append(verdict("answers per engine CPU second, 1 front end / none", gain["1"], GAIN))
    return 0 if all(met) else 1


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--counts", type=_counts, default=COUNTS, metavar="N,N", help="numbers of front ends beside 0 (1,2)"
    )
    parser.add_argument("--profile", action="store_true", help="say where the time of a no-op goes; needs py-spy")


def _counts(text: str) -> tuple[int, ...]:
    return (0, *sorted({int(part) for part in text.split(",")} - {0}))


def no_op_load(server: Server, seconds: float) -> Load:
    """A window of no-ops, every one answered."""
    load = closed_loop(server.address, [noop_request()], CALLERS, seconds)
    if load.errors:
        raise SystemExit(f"{load.errors} requests failed")
    return load


def one_caller(home: Path, server: Server, model: str, asked: argparse.Namespace) -> tuple[float, float]:
    """Milliseconds that the server adds to a pass of one row, and those of the pass: medians of the rounds."""
    requests = [ids_request(model, LENGTH, seed) for seed in range(16)]
    check_answers(server.address, requests, by_bare(Graph(graph_of(home)), {model: head_weight(0)}))
    added, passes = [], []
    with BareOrt(graph_of(home), vocabulary=VOCABULARY, tap=TAP) as bare:
        for _ in range(asked.rounds):
            alone = bare.rate([LENGTH] * 16, 1, asked.seconds).p50_ms
            added.append(closed_loop(server.address, requests, 1, asked.seconds).p50_ms - alone)
            passes.append(alone)
    return median(added), median(passes)


def show_profile(server: Server, seconds: float) -> None:
    """Print the functions that took most of the server's own time."""
    own = profile(server.process.pid, 2 * seconds, lambda: no_op_load(server, 2 * seconds))
    print("\nown time of the server's functions under no-ops; C code counts for its caller")
    for name, count in own.most_common(20):
        print(f"{count / own.total():6.1%}  {name}")


if __name__ == "__main__":
    sys.exit(main())
