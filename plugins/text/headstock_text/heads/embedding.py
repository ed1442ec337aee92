"""A vector per text."""

from __future__ import annotations

from typing import ClassVar

from headstock.heads import EmbeddingHead


class TextEmbedding(EmbeddingHead):
    """A projection of the mean of the tokens; untrained it is the plain pooled embedding."""

    name: ClassVar[str] = "text-embedding"
    modality: ClassVar[str] = "text"
    tap: ClassVar[str] = "mean"
