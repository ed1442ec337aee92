"""Label shift: do the classes come in other shares in the target than in the source? Told from answers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headstock.adaptation.validators import target_proportions

Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

LOST = 0.15
"""Share of rows that an adaptation may cost. A method that keeps the source's class shares answers at least as many
target rows wrongly as the total variation between the two says, so a shift beyond this is worth a warning. The smallest
of 0.05, 0.1, 0.15 and 0.2 that raised at most 5 % false alarms on two sets: docs/adaptation.md has rates on others."""
AGREED = 0.4
"""Agreement of seeds (kappa) from which answers are listened to: moderate, on the scale of Landis and Koch (1977); from
0.2 to 0.6 the rates are the same."""
_RESAMPLES = 200


@dataclass(frozen=True, slots=True)
class Answers:
    """What one method answers, seed by seed."""

    method: str
    agreement: float
    inside: Sequence[Labels]
    """Of held-out source rows."""
    target: Sequence[Labels]


@dataclass(frozen=True, slots=True)
class LabelShift:
    """Total variation between the class shares of source and target, 0 to 1, with its 95 % interval."""

    value: float | None
    """None where no method's seeds agree enough to be asked."""
    low: float | None
    high: float | None
    methods: tuple[str, ...]
    """Those that were asked."""

    @property
    def flagged(self) -> bool:
        """True where even the lower end would cost more than `LOST`."""
        return self.low is not None and self.low > LOST

    def to_json(self) -> dict[str, Any]:
        """For the report."""
        return {
            "flagged": self.flagged,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "methods": list(self.methods),
            "limit": LOST,
        }


def label_shift(answers: Sequence[Answers], truth: Labels, source: Labels, classes: int) -> LabelShift:
    """The median over methods of what black box shift estimation (Lipton et al. 2018) finds from each one's answers.

    `answers` are of methods that learned from the target, `truth` the classes of the held-out source rows, `source`
    those of the training rows. The median, as each method errs in a way of its own: those that align the domains hide
    a shift, and one that fails invents it. The interval is the basic bootstrap over source rows, held-out rows and
    target rows (Davison and Hinkley 1997, 5.2.1): sampling noise alone makes a total variation larger, which a
    percentile interval would count twice.
    """
    asked = [one for one in answers if one.agreement >= AGREED]
    if not asked:
        return LabelShift(None, None, None, ())
    random = np.random.default_rng(0)
    sizes = len(source), len(truth), len(asked[0].target[0])
    value = _median(asked, truth, source, classes, *map(np.arange, sizes))
    drawn = [
        _median(asked, truth, source, classes, *(random.integers(size, size=size) for size in sizes))
        for _ in range(_RESAMPLES)
    ]
    least, most = np.quantile(drawn, [0.025, 0.975])
    low, high = max(0.0, 2 * value - float(most)), min(1.0, max(value, 2 * value - float(least)))
    return LabelShift(value, low, high, tuple(one.method for one in asked))


def _median(
    asked: Sequence[Answers], truth: Labels, source: Labels, classes: int, rows: Labels, held: Labels, target: Labels
) -> float:
    shares = np.bincount(source[rows], minlength=classes) / len(rows)
    return float(np.median([_variation(one, truth, shares, held, target) for one in asked]))


def _variation(one: Answers, truth: Labels, shares: Floats, held: Labels, target: Labels) -> float:
    each = [
        target_proportions(truth[held], inside[held], answered[target], len(shares))
        for inside, answered in zip(one.inside, one.target, strict=True)
    ]
    return float(np.abs(np.mean(each, axis=0) - shares).sum() / 2)
