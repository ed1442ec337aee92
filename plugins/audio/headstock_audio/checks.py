"""What the contract kit tries this plugin on."""

from __future__ import annotations

from headstock.testing import Case, FamilyCase, HeadCase
from headstock.testing.position_rows import spoken_rows
from headstock.testing.tiny_audio import make_tiny_deepspeech, make_tiny_wav2vec2


def check_cases() -> list[Case]:
    """A tiny checkpoint per family; head types that need other rows than the kit's own have them here."""
    return [
        FamilyCase("wav2vec2", files=make_tiny_wav2vec2),
        FamilyCase("deepspeech", files=make_tiny_deepspeech),
        HeadCase("speech-recognition", spoken_rows, refused={"transcript": ["same"] * 4}),
    ]
