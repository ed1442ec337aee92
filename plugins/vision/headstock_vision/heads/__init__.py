"""Head types for pictures."""

from headstock.hookspecs import HeadType
from headstock_vision.heads.anomaly import ImageAnomaly
from headstock_vision.heads.classification import ImageClassification, ImageMultiLabel, ImagePrototype
from headstock_vision.heads.embedding import ImageEmbedding
from headstock_vision.heads.regression import ImageRegression

HEADS: tuple[HeadType, ...] = (
    ImageClassification(),
    ImageMultiLabel(),
    ImagePrototype(),
    ImageRegression(),
    ImageEmbedding(),
    ImageAnomaly(),
)
"""One of each."""

__all__ = [
    "HEADS",
    "ImageAnomaly",
    "ImageClassification",
    "ImageEmbedding",
    "ImageMultiLabel",
    "ImagePrototype",
    "ImageRegression",
]
