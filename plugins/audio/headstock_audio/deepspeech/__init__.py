"""Mozilla's DeepSpeech 0.9, read from its TensorFlow checkpoints without TensorFlow."""

from headstock_audio.deepspeech.family import DeepSpeechFamily

__all__ = ["DeepSpeechFamily"]
