"""What is known about the licences of weights besides what their repositories say: evidence, no conclusion."""

from __future__ import annotations

from headstock.hookspecs import LicenceRecord

_LICENCE = "LicenseRef-headstock-gpt2-modified-mit"
_WHERE = "https://github.com/openai/gpt-2/blob/master/LICENSE"
_SUBJECTS = (
    "hf:openai-community/gpt2",
    "hf:openai-community/gpt2-medium",
    "hf:openai-community/gpt2-large",
    "hf:openai-community/gpt2-xl",
)

RECORDS = [LicenceRecord(subject, _LICENCE, _WHERE) for subject in _SUBJECTS]
"""The text that was published with the weights, beside the hub's tag."""
