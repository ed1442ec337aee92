"""Head types for text."""

from headstock.hookspecs import HeadType
from headstock_text.heads.classification import TextClassification, TextMultiLabel, TextPrototype
from headstock_text.heads.embedding import TextEmbedding
from headstock_text.heads.regression import TextRegression
from headstock_text.heads.tokens import QuestionAnswering, TokenClassification

HEADS: tuple[HeadType, ...] = (
    TextClassification(),
    TextMultiLabel(),
    TextPrototype(),
    TextRegression(),
    TextEmbedding(),
    TokenClassification(),
    QuestionAnswering(),
)
"""One of each."""

__all__ = [
    "HEADS",
    "QuestionAnswering",
    "TextClassification",
    "TextEmbedding",
    "TextMultiLabel",
    "TextPrototype",
    "TextRegression",
    "TokenClassification",
]
