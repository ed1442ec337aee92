"""Measures how many tokens a pass must hold before the hardware gains nothing more, on the session that will serve."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headstock.backbone.isolation import ROWS
from headstock.backbone.samples import samples_for
from headstock.errors import RunTimeout, Unsupported
from headstock.preprocess import Preprocessor, Row

DEFAULT_TOKENS = 128
"""Budget where nothing could be measured: what one CPU core saturates at."""
DEFAULT_TOKEN_NS = 200_000.0
"""Rate to assume where nothing could be measured."""
_ENOUGH = 0.97
_ROUNDS = 3
_LENGTH = 16
_ROWS = {
    "cpu": (1, 2, 4, 8, 16, 32, 64),
    "cuda": (1, 4, 16, 64, 256, 1024),
    # An engine is built for at most this many rows.
    "tensorrt": (1, 4, 16, 64, 256),
}


@dataclass(frozen=True, slots=True)
class Point:
    """One measured pass size."""

    rows: int
    tokens: int
    """Rows times length."""
    seconds: float
    """Fastest run."""

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds


@dataclass(frozen=True, slots=True)
class Profile:
    """What profiling found; empty points mean that the values are assumed."""

    tokens: int
    """The token budget: a pass that reaches 97 % of the best rate, see `choose`."""
    token_ns: float
    """Nanoseconds per token at that size."""
    points: tuple[Point, ...] = ()

    @property
    def rows(self) -> int:
        """Rows that a pass of that size may have, at the length that was measured; at least 64."""
        length = self.points[0].tokens // self.points[0].rows if self.points else _LENGTH
        return max(ROWS, self.tokens // length)


def assumed(tokens: int | None = None) -> Profile:
    """A profile without a measurement."""
    return Profile(tokens or DEFAULT_TOKENS, DEFAULT_TOKEN_NS)


def profile(
    run: Callable[[Sequence[Row]], object],
    preprocessor: Preprocessor,
    device: str,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Profile:
    """Run `run` on passes of growing size for at most about `seconds`, small ones first, and choose the budget.

    Passes are timed by `clock`, in seconds.
    """
    rows = sample(preprocessor)
    if rows is None:
        return assumed()
    length, best, largest = rows.length, dict[int, float](), device == "cpu"
    deadline = time.perf_counter() + seconds
    # Rounds after the warm-up, interleaved: one disturbance must not decide against one size.
    run([rows])
    for round_ in range(_ROUNDS):
        for before, count in zip((1, *_ROWS[device]), _ROWS[device], strict=False):
            expected = best.get(count) or best.get(before, 0.0) * count / before
            if time.perf_counter() + expected > deadline and count > 1:
                break
            start = clock()
            try:
                run([rows] * count)
            except RunTimeout:
                if not best:
                    raise
                # No pass of that size will ever be answered.
                break
            taken = max(clock() - start, 1e-9)
            best[count] = min(best.get(count, taken), taken) if round_ else taken
        points = [Point(count, count * length, taken) for count, taken in sorted(best.items())]
        if round_ and largest and _good(points)[-1] is points[-1]:
            # No other size would be chosen any more, and the largest takes half of the time.
            break
    return choose(points, largest=largest)


def choose(points: Sequence[Point], *, largest: bool) -> Profile:
    """A pass within 3 % of the best rate; at least the default where the rate was still growing.

    The smallest such answers soonest. The `largest` is for processors, where the server itself works on the core that
    runs the pass: then what a pass costs besides, and what is lost by turning from one work to the other, is shared by
    more rows.
    """
    good = _good(points)
    chosen = good[-1] if largest else good[0]
    tokens = max(chosen.tokens, DEFAULT_TOKENS) if chosen is points[-1] else chosen.tokens
    return Profile(tokens, chosen.seconds * 1e9 / chosen.tokens, tuple(points))


def _good(points: Sequence[Point]) -> list[Point]:
    top = max(points, key=lambda p: p.rate)
    return [p for p in points if p.rate >= _ENOUGH * top.rate]


def sample(preprocessor: Preprocessor) -> Row | None:
    """A row to measure with, about 16 tokens where it is text; None for a kind of input that has no samples."""
    if preprocessor.spec.kind == "text":
        return preprocessor.rows([b"a " * (_LENGTH - 2)])[0]
    try:
        return min(samples_for(preprocessor).ordinary, key=lambda row: row.length)
    except Unsupported:
        return None
