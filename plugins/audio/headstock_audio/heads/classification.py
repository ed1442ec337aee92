"""One label per recording, or any number of them."""

from __future__ import annotations

from typing import ClassVar

from headstock.heads import ClassificationHead, MultiLabelHead, PrototypeHead


class AudioClassification(ClassificationHead):
    """A linear probe on the mean of the frames."""

    name: ClassVar[str] = "audio-classification"
    modality: ClassVar[str] = "audio"
    tap: ClassVar[str] = "mean"


class AudioMultiLabel(MultiLabelHead):
    """Any number of labels per recording, each by a linear probe on the mean of the frames."""

    name: ClassVar[str] = "audio-multi-label"
    modality: ClassVar[str] = "audio"
    tap: ClassVar[str] = "mean"


class AudioPrototype(PrototypeHead):
    """The label whose recordings are nearest on average; for a handful of recordings per label."""

    name: ClassVar[str] = "audio-prototype"
    modality: ClassVar[str] = "audio"
    tap: ClassVar[str] = "mean"
