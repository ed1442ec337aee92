"""Trained equals served: the exported graph against torch on real inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from headstock.backbone.samples import Samples
from headstock.errors import FailedPrecondition
from headstock.graph import Graph
from headstock.preprocess import Preprocessor, Row
from headstock.preprocess.spec import Array
from headstock.records import Tap

if TYPE_CHECKING:
    import torch

LIMIT = 1e-4
"""Largest difference allowed, relative to the tap's scale (its largest absolute value, at least 1)."""
LEAST_SCALE = 1e-2
"""A tap whose values all lie below this is a dead network, and agreement of zeros proves nothing."""


@dataclass(frozen=True, slots=True)
class TapParity:
    """How one tap of the graph differs from torch."""

    max_error: float
    """Largest absolute difference."""
    scale: float
    """Largest absolute value that torch computed."""


def measure_parity(
    module: torch.nn.Module, graph: Graph, preprocessor: Preprocessor, samples: Samples, taps: Sequence[Tap]
) -> dict[str, TapParity]:
    """Compare all taps over batches of 1, 3 and 5 rows with ragged padding and one row of maximal length."""
    import torch

    parity = {tap.name: TapParity(0.0, 0.0) for tap in taps}
    for rows in batches(samples):
        feeds = preprocessor.collate(rows)
        with torch.no_grad():
            expected = module(**{name: torch.from_numpy(value) for name, value in feeds.items()})
        for tap, found in zip(taps, graph.run(feeds, [t.name for t in taps]), strict=True):
            reference = expected[tap.name].numpy()
            if found.shape != reference.shape:
                raise FailedPrecondition(
                    f"tap {tap.name!r} of the graph has shape {list(found.shape)} where torch has "
                    f"{list(reference.shape)}: an axis that varies was exported as fixed"
                )
            parity[tap.name] = _worse(parity[tap.name], _compare(found, reference, rows))
    return parity


def _compare(found: Array, reference: Array, rows: Sequence[Row]) -> TapParity:
    longest = max(row.length for row in rows)
    error = scale = 0.0
    for slot, row in enumerate(rows):
        # What stands behind a row's end belongs to nobody, and torch's fused attention leaves other noise there.
        own = slice(row.length) if reference.ndim > 2 and reference.shape[1] == longest else slice(None)
        difference = np.abs(found[slot][own] - reference[slot][own]).max(initial=0.0)
        # NaN compares false with everything, so it must not pass as small.
        error = max(error, float(difference) if np.isfinite(difference) else float("inf"))
        scale = max(scale, float(np.abs(reference[slot][own]).max(initial=0.0)))
    return TapParity(error, scale)


def _worse(one: TapParity, other: TapParity) -> TapParity:
    return TapParity(max(one.max_error, other.max_error), max(one.scale, other.scale))


def require_parity(parity: Mapping[str, TapParity]) -> None:
    """Raise `FailedPrecondition` naming the first tap that disagrees or is dead."""
    for name, found in parity.items():
        if found.scale < LEAST_SCALE:
            raise FailedPrecondition(
                f"tap {name!r} is dead: its largest value is {found.scale:.2g}, expected at least {LEAST_SCALE:g}; "
                "the weights are probably not the checkpoint's"
            )
        allowed = LIMIT * max(1.0, found.scale)
        if not found.max_error <= allowed:
            raise FailedPrecondition(
                f"tap {name!r} of the exported graph differs from torch by {found.max_error:.3g}; "
                f"expected at most {allowed:.3g}"
            )


def batches(samples: Samples) -> list[list[Row]]:
    """What a graph is held against another one on: batches of 1, 3 and 5 rows, ragged, and one of maximal length."""
    rows = samples.ordinary
    return [[rows[-1]], [rows[1]], list(rows[2:5]), list(rows[5:10]), [rows[0], rows[6], samples.longest[0]]]
