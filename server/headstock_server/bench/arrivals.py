"""When the requests of an open loop are due."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np

from headstock.errors import InvalidInput

Arrivals = Literal["poisson", "constant"]
KINDS: tuple[str, ...] = get_args(Arrivals)
BLOCK = 1024


def arrivals(rate: float, kind: Arrivals, seed: int) -> Iterator[float]:
    """The due times of an endless open loop of `rate` requests a second: seconds from its start, never falling.

    `poisson` draws exponential gaps from `seed`; `constant` spaces requests evenly, the first at 0.
    Raises `InvalidInput` for a rate that is not above zero or another kind.
    """
    if not rate > 0:
        raise InvalidInput(f"the rate is {rate!r}; expected requests a second above 0", fix="--rate 100")
    if kind not in KINDS:
        raise InvalidInput(f"the arrivals are {kind!r}; expected one of {', '.join(KINDS)}", fix="--arrivals poisson")
    return _constant(rate) if kind == "constant" else _poisson(rate, seed)


def _constant(rate: float) -> Iterator[float]:
    # Multiplied, not summed: a long run must not drift.
    number = 0
    while True:
        yield number / rate
        number += 1


def _poisson(rate: float, seed: int) -> Iterator[float]:
    generator = np.random.default_rng([seed, 1])
    now = 0.0
    while True:
        for gap in generator.exponential(1 / rate, BLOCK):
            now += float(gap)
            yield now
