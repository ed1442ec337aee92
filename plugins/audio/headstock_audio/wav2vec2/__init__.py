"""Wav2Vec 2.0 on raw waveforms, with the group norm of its base models masked."""

from headstock_audio.wav2vec2.family import Wav2Vec2Family

__all__ = ["Wav2Vec2Family"]
