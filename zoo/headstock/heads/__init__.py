"""What head types of every modality are made of: subclass one of these and say name, modality and tap."""

from headstock.heads.anomaly import AnomalyHead
from headstock.heads.classification import ClassificationHead
from headstock.heads.embedding import EmbeddingHead
from headstock.heads.multi_label import MultiLabelHead
from headstock.heads.positions import PositionHead
from headstock.heads.prototype import PrototypeHead
from headstock.heads.question_answering import QuestionAnsweringHead
from headstock.heads.regression import RegressionHead
from headstock.heads.speech_recognition import SpeechRecognitionHead
from headstock.heads.token_classification import TokenClassificationHead

__all__ = [
    "AnomalyHead",
    "ClassificationHead",
    "EmbeddingHead",
    "MultiLabelHead",
    "PositionHead",
    "PrototypeHead",
    "QuestionAnsweringHead",
    "RegressionHead",
    "SpeechRecognitionHead",
    "TokenClassificationHead",
]
