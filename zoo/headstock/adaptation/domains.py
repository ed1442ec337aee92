"""What an adaptation learns from: labelled rows of the source, unlabelled rows of the target, as features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstock.adaptation import losses

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Domains:
    """Features FP32 [rows, width] and classes INT64 [rows] of both domains."""

    source: Floats
    """Rows to learn from."""
    labels: Labels
    """Their classes."""
    held_out: Floats
    """Source rows that nothing trains on."""
    truth: Labels
    """Their classes."""
    target: Floats
    classes: int
    """How many there are."""

    def view(self, method: str, rows: Floats) -> Floats:
        """Source rows [k, width] as a head of `method` sees them: CORAL moves them to the target, which stays."""
        if method != "coral":
            return rows
        return losses.coral_alignment(self.source, self.target, _ridge(self.source), rows)


def _ridge(features: Floats) -> float:
    """A hundredth of the mean variance: features of any scale are whitened alike."""
    return max(0.01 * float(features.var(axis=0).mean()), 1e-12)
