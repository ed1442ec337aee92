"""MLServer and nvidia-pytriton against Headstock: the same models, the same requests, the same client, the same core.

All servers of a part stand on core 0 at once and take turns; the load runs on core 1. Each peer has the settings that
are best for it: nvidia-pytriton's dynamic batcher without a delay, MLServer in one process, with adaptive batching for
rows of one length and without it for mixed ones, where it fails requests. The parts: one model (32 tokens, mixed
lengths, and a no-op of 384 floats, 32 callers each), p99 under Poisson arrivals at 70 % of the peer's own peak, the
same rate for both, and a hundred models. Answers of every side are held against bare ONNX Runtime first.

`make bench-peers` makes the peers' environments.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil

from _answers import Expected, by_bare, check_answers
from _common import Server, closed_loop, ids_request, median, pin_load, report, serve, verdict
from _mixed import ids_requests, mixed_lengths
from _noop import FLOATS, NOOP, check_noop, noop_request, publish_noop
from _options import options
from _peer_servers import Peer
from _zoo import add_models, graph_of, head_weight, minilm_zoo
from headstock.graph import Graph
from headstock.oip import open_inference_grpc_pb2 as oip
from headstock_server.bench.arrivals import arrivals
from headstock_server.bench.load import Request, opened
from headstock_server.bench.measure import Rules, measure

ENVIRONMENTS = Path(__file__).parents[1] / ".venv-peers"
PEERS, MODELS, CALLERS, LENGTH, ROWS = ("mlserver", "pytriton"), 100, 32, 32, 128
OURS, SHARE, MODEL_MB = "headstock", 0.7, 150
SINGLE = {"batched": 0, "plain": 0}
"""The peers' two models with one head, by its seed; ours needs one."""
Rates = dict[str, dict[str, list[float]]]
"""Cell to side to the figure of each round."""


def main() -> int:
    """Measure, print, return 0 if ours is ahead of both peers in everything."""
    asked = options(__doc__, seconds=3.0, rounds=3, add=_add)
    pin_load()
    missing = [name for name in PEERS if not getattr(asked, f"{name}_python").exists()]
    if len(missing) == len(PEERS):
        raise SystemExit(f"no peer is installed: {', '.join(PEERS)}; make bench-peers")
    needed = asked.models * MODEL_MB * 1e6
    if psutil.virtual_memory().available < needed:
        raise SystemExit(f"{asked.models} models of a peer take up to {needed / 1e9:.0f} GB; less memory is free")
    with minilm_zoo() as home:
        names = add_models(home, asked.models)
        publish_noop(home)
        graph = graph_of(home)
        expected = by_bare(
            Graph(graph), {**{n: head_weight(seed) for n, seed in SINGLE.items()},
                           **{n: head_weight(seed) for seed, n in enumerate(names)}}
        )  # fmt: skip
        peers = [Peer(name, getattr(asked, f"{name}_python"), graph) for name in PEERS if name not in missing]
        rates, tails = one_model(home, names[0], peers, expected, asked)
        many, memory, ready = many_models(home, names, peers, expected, asked) if asked.models > 1 else ({}, {}, {})
    met = _print(rates | many, tails, memory, ready)
    for name in missing:
        print(f"{name}: NOT MEASURED, there is no {getattr(asked, f'{name}_python')}; make bench-peers")
    return 0 if met and not missing else 1


def _add(parser: argparse.ArgumentParser) -> None:
    for name in PEERS:
        default = ENVIRONMENTS / name / "bin" / "python"
        parser.add_argument(f"--{name}-python", type=_absolute, default=default, help=f"{name}'s Python")
    parser.add_argument("--models", type=int, default=MODELS, help="of the last part; 1 leaves it out (%(default)s)")


def _absolute(text: str) -> Path:
    """The peers start elsewhere. Links stay: an environment's Python is one."""
    return Path(text).absolute()


def one_model(
    home: Path, model: str, peers: list[Peer], expected: Expected, asked: argparse.Namespace
) -> tuple[Rates, Rates]:
    """Answers a second by cell, and the p99 in milliseconds of ours and of each peer at the peer's rate."""
    with ExitStack() as stack:
        servers = {OURS: stack.enter_context(serve(home, "--models", f"{model},{NOOP}"))}
        servers |= {peer.name: stack.enter_context(peer.serve(SINGLE)) for peer in peers}
        loads = {name: _single_loads(name, model) for name in servers}
        check_noop(servers[OURS].address)
        for name, server in servers.items():
            for cell in (f"{LENGTH} tokens", "mixed lengths"):
                check_answers(server.address, loads[name][cell], expected)
        rates = _alternate(servers, loads, asked)
        tails: Rates = {}
        for peer in peers:
            offered = SHARE * median(rates[f"{LENGTH} tokens"][peer.name])
            tails[f"p99 at {offered:.0f}/s, {peer.name}'s 70 %"] = _tails(servers, loads, peer.name, offered, asked)
    return rates, tails


def _single_loads(side: str, model: str) -> dict[str, list[bytes]]:
    mlserver = side == "mlserver"
    equal, mixed = (model, model) if side == OURS else ("batched", "plain" if mlserver else "batched")
    return {
        f"{LENGTH} tokens": [ids_request(equal, LENGTH, seed) for seed in range(ROWS)],
        "mixed lengths": ids_requests([mixed], mixed_lengths(ROWS)),
        f"no-op of {FLOATS} floats": [noop_request() if side == OURS else _identity()],
    }


def _identity() -> bytes:
    """The peers' no-op gives back the floats that it gets; ours makes as many of a word."""
    request = oip.ModelInferRequest(model_name="identity")
    request.inputs.add(name="floats", datatype="FP32", shape=[1, FLOATS])
    request.raw_input_contents.append(np.ones(FLOATS, "<f4").tobytes())
    data: bytes = request.SerializeToString()
    return data


def _alternate(
    servers: Mapping[str, Server], loads: Mapping[str, Mapping[str, list[bytes]]], asked: argparse.Namespace
) -> Rates:
    rates: Rates = {cell: {name: [] for name in servers} for cell in loads[OURS]}
    for _ in range(asked.rounds):
        for cell, sides in rates.items():
            for name, server in servers.items():
                load = closed_loop(
                    server.address, loads[name][cell], CALLERS, asked.seconds, turns=int(cell == "mixed lengths")
                )
                if load.errors:
                    raise SystemExit(f"{load.errors} requests of {cell!r} to {name} failed")
                sides[name].append(load.rate)
    return rates


def _tails(
    servers: Mapping[str, Server],
    loads: Mapping[str, Mapping[str, list[bytes]]],
    peer: str,
    offered: float,
    asked: argparse.Namespace,
) -> dict[str, list[float]]:
    """The p99 of both at the same Poisson arrivals, in turns."""
    rules = Rules(3 * asked.seconds, 1.0, 99.0, stable=False, max_windows=3, timeout=60.0)
    found: dict[str, list[float]] = {OURS: [], peer: []}
    for seed in range(asked.rounds):
        for name, values in found.items():
            pool = loads[name][f"{LENGTH} tokens"]
            requests = itertools.cycle([Request(name, request) for request in pool])
            loop = opened(lambda seed=seed: arrivals(offered, "poisson", seed))
            figures = measure(servers[name].address, loop, requests, rules, by_due=True).figures
            p99 = figures.latency_ms["p99"]
            if figures.errors or p99 is None:
                raise SystemExit(f"requests to {name} failed: {dict(figures.errors)}")
            values.append(p99)
    return found


def many_models(
    home: Path, names: list[str], peers: list[Peer], expected: Expected, asked: argparse.Namespace
) -> tuple[Rates, dict[str, float], dict[str, float]]:
    """Answers a second by cell, resident MB and seconds until ready by side; one peer at a time for its memory."""
    loads = {
        "32 tokens": [ids_request(name, LENGTH, seed) for seed, name in enumerate(names)],
        "mixed lengths": ids_requests(names, mixed_lengths(len(names))),
    }
    rates: Rates = {}
    memory, ready = {}, {}
    for peer in peers:
        with (
            serve(home, "--models", ",".join(names)) as ours,
            peer.serve({name: seed for seed, name in enumerate(names)}) as theirs,
        ):
            servers = {OURS: ours, peer.name: theirs}
            for name, server in servers.items():
                for requests in loads.values():
                    check_answers(server.address, requests, expected)
                memory[name], ready[name] = server.pss_mb(), server.ready_seconds
            found = _alternate(servers, dict.fromkeys(servers, loads), asked)
            rates |= {f"{len(names)} models, {cell}, {peer.name}": sides for cell, sides in found.items()}
    return rates, memory, ready


def _print(rates: Rates, tails: Rates, memory: dict[str, float], ready: dict[str, float]) -> bool:
    rows, met, ratios = [], [], {}
    for cell, sides in [*rates.items(), *tails.items()]:
        for peer in sides.keys() - {OURS}:
            ratio = median([ours / theirs for ours, theirs in zip(sides[OURS], sides[peer], strict=True)])
            ratios[cell if peer in cell else f"{cell}, {peer}"] = ratio
            rows.append([cell, peer, f"{median(sides[OURS]):.1f}", f"{median(sides[peer]):.1f}", f"{ratio:.3f}"])
    results = {"ratio": ratios, "rounds": rates | tails, "memory_mb": memory, "ready_s": ready}
    report(
        "ours against the peers: answers/s, or ms where it says p99",
        ["cell", "peer", "ours", "theirs", "ratio"],
        rows,
        results,
    )
    for name in memory:
        print(f"{name}: all models ready after {ready[name]:.1f} s, resident {memory[name]:.0f} MB")
    for cell, ratio in ratios.items():
        met.append(verdict(f"{cell}: ours / theirs", ratio, 1.0, at_most=cell.startswith("p99")))
    return bool(met) and all(met)


if __name__ == "__main__":
    sys.exit(main())
