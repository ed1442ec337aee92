"""A number per text."""

from __future__ import annotations

from typing import ClassVar

from headstock.heads import RegressionHead


class TextRegression(RegressionHead):
    """A linear probe on the mean of the tokens."""

    name: ClassVar[str] = "text-regression"
    modality: ClassVar[str] = "text"
    tap: ClassVar[str] = "mean"
