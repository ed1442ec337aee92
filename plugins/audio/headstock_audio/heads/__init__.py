"""Head types for sound and speech."""

from headstock.hookspecs import HeadType
from headstock_audio.heads.classification import AudioClassification, AudioMultiLabel, AudioPrototype
from headstock_audio.heads.embedding import AudioEmbedding
from headstock_audio.heads.regression import AudioRegression
from headstock_audio.heads.speech_recognition import SpeechRecognition

HEADS: tuple[HeadType, ...] = (
    AudioClassification(),
    AudioMultiLabel(),
    AudioPrototype(),
    AudioRegression(),
    AudioEmbedding(),
    SpeechRecognition(),
)
"""One of each."""

__all__ = [
    "HEADS",
    "AudioClassification",
    "AudioEmbedding",
    "AudioMultiLabel",
    "AudioPrototype",
    "AudioRegression",
    "SpeechRecognition",
]
