"""A vector per picture."""

from __future__ import annotations

from typing import ClassVar

from headstock.heads import EmbeddingHead


class ImageEmbedding(EmbeddingHead):
    """A projection of the pooled features; untrained it is the plain pooled embedding."""

    name: ClassVar[str] = "image-embedding"
    modality: ClassVar[str] = "image"
    tap: ClassVar[str] = "pooled"
