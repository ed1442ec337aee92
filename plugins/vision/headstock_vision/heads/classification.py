"""One label per picture, or any number of them."""

from __future__ import annotations

from typing import ClassVar

from headstock.heads import ClassificationHead, MultiLabelHead, PrototypeHead


class ImageClassification(ClassificationHead):
    """A linear probe on the pooled features."""

    name: ClassVar[str] = "image-classification"
    modality: ClassVar[str] = "image"
    tap: ClassVar[str] = "pooled"


class ImageMultiLabel(MultiLabelHead):
    """Any number of labels per picture, each by a linear probe on the pooled features."""

    name: ClassVar[str] = "image-multi-label"
    modality: ClassVar[str] = "image"
    tap: ClassVar[str] = "pooled"


class ImagePrototype(PrototypeHead):
    """The label whose pictures are nearest on average; for a handful of pictures per label."""

    name: ClassVar[str] = "image-prototype"
    modality: ClassVar[str] = "image"
    tap: ClassVar[str] = "pooled"
