"""One label per text."""

from __future__ import annotations

from typing import ClassVar

from headstock.heads import ClassificationHead, MultiLabelHead, PrototypeHead


class TextClassification(ClassificationHead):
    """A linear probe on the mean of the tokens."""

    name: ClassVar[str] = "text-classification"
    modality: ClassVar[str] = "text"
    tap: ClassVar[str] = "mean"


class TextMultiLabel(MultiLabelHead):
    """Any number of labels per text, each by a linear probe on the mean of the tokens."""

    name: ClassVar[str] = "text-multi-label"
    modality: ClassVar[str] = "text"
    tap: ClassVar[str] = "mean"


class TextPrototype(PrototypeHead):
    """The label whose texts are nearest on average; for a handful of texts per label."""

    name: ClassVar[str] = "text-prototype"
    modality: ClassVar[str] = "text"
    tap: ClassVar[str] = "mean"
