"""One label per row of a table, or any number of them."""

from __future__ import annotations

from typing import ClassVar

from headstock.heads import ClassificationHead, MultiLabelHead, PrototypeHead


class TabularClassification(ClassificationHead):
    """A linear probe on the pooled features."""

    name: ClassVar[str] = "tabular-classification"
    modality: ClassVar[str] = "tabular"
    tap: ClassVar[str] = "pooled"


class TabularMultiLabel(MultiLabelHead):
    """Any number of labels per row, each by a linear probe on the pooled features."""

    name: ClassVar[str] = "tabular-multi-label"
    modality: ClassVar[str] = "tabular"
    tap: ClassVar[str] = "pooled"


class TabularPrototype(PrototypeHead):
    """The label whose rows are nearest on average; for a handful of rows per label."""

    name: ClassVar[str] = "tabular-prototype"
    modality: ClassVar[str] = "tabular"
    tap: ClassVar[str] = "pooled"
