"""A source's statement about an artefact; a file of its own, because a listing imports no more of the records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from headstock.digest import Digest

Covered = Literal["", "weights", "code", "tokenizer", "data", "docs"]
"""What of an artefact a statement is about; empty where its source does not say."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One source's statement about one artefact; statements may contradict each other and are all kept."""

    subject: Digest
    field: str
    """What is stated: `licence`, `parent`, `probe`..."""
    value: str
    """For licences an SPDX expression, or `NOASSERTION` when the source is silent or not understood."""
    source: str
    """Kind of source: `hub-tag`, `card`, `licence-file`, `package-metadata`, `config`, `manifest`, `operator`,
    `onnx-metadata`, `similarity` (a licence text that is nearly a known one)."""
    locator: str
    """Where exactly, with revision: `hf:ORG/NAME@COMMIT/README.md`. Never a path of this machine."""
    raw: str = ""
    """What the source said in its own words, at most 200 characters."""
    scope: Covered = ""
    """What of the subject it is about: the licence of code is not that of weights. No verdict is milder for it."""
