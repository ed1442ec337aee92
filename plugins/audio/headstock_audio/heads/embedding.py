"""A vector per recording."""

from __future__ import annotations

from typing import ClassVar

from headstock.heads import EmbeddingHead


class AudioEmbedding(EmbeddingHead):
    """A projection of the mean of the frames; untrained it is the plain pooled embedding."""

    name: ClassVar[str] = "audio-embedding"
    modality: ClassVar[str] = "audio"
    tap: ClassVar[str] = "mean"
