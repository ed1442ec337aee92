"""What is said in a recording."""

from __future__ import annotations

from typing import ClassVar

from headstock.heads import SpeechRecognitionHead


class SpeechRecognition(SpeechRecognitionHead):
    """A linear probe on single frames."""

    name: ClassVar[str] = "speech-recognition"
    modality: ClassVar[str] = "audio"
    tap: ClassVar[str] = "frames"
