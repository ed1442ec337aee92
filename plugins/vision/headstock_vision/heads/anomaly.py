"""What is not as in the good pictures, and where."""

from __future__ import annotations

from typing import ClassVar

from headstock.heads import AnomalyHead


class ImageAnomaly(AnomalyHead):
    """A memory of the feature maps of good pictures."""

    name: ClassVar[str] = "image-anomaly"
    modality: ClassVar[str] = "image"
    tap: ClassVar[str] = "feature_map"
