"""What is known about the licences of weights besides what their repositories say: evidence, no conclusion."""

from __future__ import annotations

from headstock.hookspecs import LicenceRecord

_LICENCE = "MIT"
_WHERE = "https://github.com/openai/CLIP/blob/main/LICENSE"
_SUBJECTS = (
    "hf:openai/clip-vit-base-patch32",
    "hf:openai/clip-vit-base-patch16",
    "hf:openai/clip-vit-large-patch14",
)

RECORDS = [LicenceRecord(subject, _LICENCE, _WHERE) for subject in _SUBJECTS]
"""The repositories carry no tag; this is the licence of the code that the weights came with."""
