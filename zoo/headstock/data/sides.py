"""What the parts of a data set may be called, in a split column or as folders."""

from __future__ import annotations

SIDES = {
    "train": ("train", "training", "fit"),
    "validation": ("validation", "valid", "val", "dev", "eval"),
    "test": ("test", "testing", "holdout"),
}
"""The part to its usual names."""


def side_of(name: object) -> str | None:
    """`train`, `validation` or `test`; None for a name that is none of these."""
    text = str(name if name is not None else "").strip().lower()
    return next((side for side, words in SIDES.items() if text in words), None)
