"""A number per picture."""

from __future__ import annotations

from typing import ClassVar

from headstock.heads import RegressionHead


class ImageRegression(RegressionHead):
    """A linear probe on the pooled features."""

    name: ClassVar[str] = "image-regression"
    modality: ClassVar[str] = "image"
    tap: ClassVar[str] = "pooled"
