"""What licence verdicts cost: throughput of a server that asks over one that does not, and the time to judge.

Two servers of the same catalogue stand on core 0, one with `--licences enforce` and one with `off`; windows of load
alternate between them. The policy names a hundred tenants of three uses, so that every version has several rulings.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from _common import closed_loop, ids_request, median, pin_load, report, serve, verdict
from _zoo import add_models, minilm_zoo
from licences_engine import measured, show

LENGTH, ROUNDS, MODELS = 8, 8, 20


def main() -> int:
    """Measure, print, return 0 if the target is met."""
    pin_load()
    with minilm_zoo() as home:
        names = add_models(home, MODELS)
        (Path(home) / "policy.toml").write_text(_tenants())
        requests = [ids_request(name, LENGTH, seed) for seed, name in enumerate(names)]
        with serve(home, "--licences", "enforce") as asking, serve(home, "--licences", "off") as silent:
            servers = {"enforce": asking, "off": silent}
            for server in servers.values():
                closed_loop(server.address, requests, 32, 2.0)
            loads = {mode: [] for mode in servers}  # type: ignore[var-annotated]
            for turn in range(ROUNDS):
                # Each goes first in every other round: whoever comes second meets a warmer machine.
                for mode in sorted(servers, reverse=bool(turn % 2)):
                    loads[mode].append(closed_loop(servers[mode].address, requests, 32, 2.0))
            ready = {mode: server.ready_seconds for mode, server in servers.items()}
        judged = _judging_seconds(home)
    engine = measured()
    errors = sum(load.errors for group in loads.values() for load in group)
    if errors:
        raise SystemExit(f"{errors} requests failed")
    rate = {mode: median([load.rate for load in group]) for mode, group in loads.items()}
    ratio = median([a.rate / b.rate for a, b in zip(loads["enforce"], loads["off"], strict=True)])
    kept = show(engine)
    report(
        f"licence verdicts on and off, {MODELS} heads, {LENGTH} tokens, 32 callers",
        ["verdicts", "req/s", "ready s"],
        [[mode, f"{rate[mode]:.1f}", f"{ready[mode]:.1f}"] for mode in ("off", "enforce")],
        {"throughput_ratio": ratio, "rate": rate, "judging_s": judged, "ready_s": ready, "engine": engine},
    )
    print(f"judging {MODELS} models: {judged * 1000:.0f} ms of CPU, once, and when decisions or the policy change")
    return 0 if verdict("throughput, enforce / off", ratio, 0.99) and kept else 1


def _tenants() -> str:
    purposes = ("research", "internal", "commercial")
    return "".join(f'[tenants.t{n}]\npurpose = "{purposes[n % 3]}"\ntrusted = true\n' for n in range(100))


def _judging_seconds(home: object) -> float:
    """CPU seconds of all verdicts on one snapshot."""
    from headstock.catalogue import Catalogue
    from headstock.licences import verdicts
    from headstock.settings import Settings

    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(home)})) as catalogue:
        began = time.process_time()
        verdicts(catalogue, [version.subject for version in catalogue.versions(kind="model")])
        return time.process_time() - began


if __name__ == "__main__":
    sys.exit(main())
