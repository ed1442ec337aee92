"""Bare ONNX Runtime on core 0: the limit of a server there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from _common import SERVER_CORE, median, pin

QUIET = 0.95
"""Share of its core below which something else took too much for ratios by the clock: such a run does not pass."""


class BareRate(NamedTuple):
    """Rows per second of bare ONNX Runtime."""

    wall: float
    cpu: float
    p50_ms: float
    """Median time of a pass."""


class BareOrt:
    """Bare ONNX Runtime on core 0, asked for bursts."""

    def __init__(self, graph: Path, *, vocabulary: int, tap: str) -> None:
        self._shares: list[float] = []
        script = Path(__file__).with_name("_bare_ort.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), str(graph), str(vocabulary), tap],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=pin(SERVER_CORE),
        )

    def rate(self, lengths: Sequence[int], batch: int, seconds: float) -> BareRate:
        """Rows per wall and per CPU second at a batch size, rows in the order given, in whole turns of them."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"lengths": list(map(int, lengths)), "batch": batch, "seconds": seconds}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        rate = BareRate(**json.loads(self._process.stdout.readline()))
        self._shares.append(rate.wall / rate.cpu)
        return rate

    def core_share(self) -> float:
        """How much of core 0 the bursts had, in the median; says so where something else took a part of it."""
        share = median(self._shares)
        if share < QUIET:
            print(
                f"\nbare ONNX Runtime had {share:.0%} of core 0: the machine is busy, and ratios by the clock are void"
            )
        return share

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)

    def best_batch(
        self, lengths: Sequence[int], batches: Sequence[int], seconds: float, rounds: int = 3
    ) -> tuple[int, dict[int, float]]:
        """The batch size with most rows per CPU second, and the rows per CPU second of all, medians of `rounds`."""
        found: dict[int, list[float]] = {batch: [] for batch in batches}
        for _ in range(rounds):
            for batch in batches:
                found[batch].append(self.rate(lengths, batch, seconds).cpu)
        rates = {batch: median(values) for batch, values in found.items()}
        return max(rates, key=lambda batch: rates[batch]), rates

    def __enter__(self) -> BareOrt:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
