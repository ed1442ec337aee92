"""Which model each request goes to, and how long its input is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headstock.errors import InvalidInput

BLOCK = 1024


def shares(spec: str, models: int) -> npt.NDArray[np.float64]:
    """The probability of each of `models` models, summing to 1, from `uniform` or `zipf:S`.

    `zipf:S` gives the model at place k (from 1) a weight of k to the power -S. Raises `InvalidInput` for another spec.
    """
    kind, _, exponent = spec.partition(":")
    try:
        power = 0.0 if spec == "uniform" else float(exponent) if kind == "zipf" else -1.0
    except ValueError:
        power = -1.0
    if not 0 <= power < float("inf"):
        raise InvalidInput(f"the mix of models is {spec!r}; expected 'uniform' or 'zipf:S'", fix="--mix zipf:1.1")
    weights = np.arange(1, models + 1, dtype=np.float64) ** -power
    share: npt.NDArray[np.float64] = weights / weights.sum()
    return share


def picks(share: npt.NDArray[np.float64], seed: int) -> Iterator[int]:
    """An endless sequence of places of models, each drawn with its share."""
    generator = np.random.default_rng([seed, 2])
    while True:
        yield from map(int, generator.choice(len(share), BLOCK, p=share))


def lengths(spec: str) -> Sequence[int]:
    """The lengths to draw from: the number `spec`, or those in the file it names, one a line.

    Raises `InvalidInput` for a length that is not a whole number above 0, and for a file that is not there or is empty.
    """
    if spec.lstrip("-").isdecimal():
        return [_length(spec, "--lengths")]
    path = Path(spec)
    if not path.is_file():
        raise InvalidInput(
            f"--lengths is {path.name!r}; expected a number or a file of one length a line", fix="--lengths 32"
        )
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    found = [_length(text, f"line {n} of {path.name!r}") for n, text in enumerate(lines, 1) if text.strip()]
    if not found:
        raise InvalidInput(f"{path.name!r} has no lengths; expected one a line", fix="--lengths 32")
    return found


def _length(text: str, where: str) -> int:
    value = int(text) if text.strip().isdecimal() else 0
    if value < 1:
        raise InvalidInput(
            f"{where} is {text.strip()[:40]!r}; expected a length, a whole number above 0", fix="--lengths 32"
        )
    return value
