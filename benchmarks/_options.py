"""The options that all served benchmarks share: how long a window lasts and how many rounds there are."""

from __future__ import annotations

import argparse
from collections.abc import Callable

Add = Callable[[argparse.ArgumentParser], None]


def options(about: str | None, *, seconds: float, rounds: int, add: Add | None = None) -> argparse.Namespace:
    """The command line of a benchmark whose module docstring is `about`; `add` adds options of its own."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=_positive, default=seconds, help="length of one window of load (%(default)s)")
    parser.add_argument("--rounds", type=int, default=rounds, help="how often every side has its turn (%(default)s)")
    if add is not None:
        add(parser)
    asked = parser.parse_args()
    if asked.rounds < 1:
        parser.error(f"--rounds is {asked.rounds}; expected at least 1")
    return asked


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return value
