"""What is known about the licences of weights besides what their repositories say: evidence, no conclusion."""

from __future__ import annotations

from headstock.hookspecs import LicenceRecord

_LICENCE = "MIT"
_WHERE = "https://github.com/facebookresearch/fairseq/blob/main/LICENSE"
_SUBJECTS = (
    "hf:facebook/wav2vec2-base",
    "hf:facebook/wav2vec2-base-960h",
    "hf:facebook/wav2vec2-large-960h-lv60-self",
    "hf:facebook/wav2vec2-large-xlsr-53",
)

RECORDS = [LicenceRecord(subject, _LICENCE, _WHERE) for subject in _SUBJECTS]
"""fairseq's licence covers the pre-trained models, beside the hub's tag."""
