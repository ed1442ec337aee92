"""A number per row of a table."""

from __future__ import annotations

from typing import ClassVar

from headstock.heads import RegressionHead


class TabularRegression(RegressionHead):
    """A linear probe on the pooled features."""

    name: ClassVar[str] = "tabular-regression"
    modality: ClassVar[str] = "tabular"
    tap: ClassVar[str] = "pooled"
