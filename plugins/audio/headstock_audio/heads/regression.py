"""A number per recording."""

from __future__ import annotations

from typing import ClassVar

from headstock.heads import RegressionHead


class AudioRegression(RegressionHead):
    """A linear probe on the mean of the frames."""

    name: ClassVar[str] = "audio-regression"
    modality: ClassVar[str] = "audio"
    tap: ClassVar[str] = "mean"
