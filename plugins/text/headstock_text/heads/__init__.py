"""Head types for text."""

from headstock_text.heads.classification import TextClassification
from headstock_text.heads.embedding import TextEmbedding

__all__ = ["TextClassification", "TextEmbedding"]
