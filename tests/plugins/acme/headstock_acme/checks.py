"""What the contract kit tries this plugin on."""

from __future__ import annotations

from pathlib import Path

from headstock.testing import Case, FamilyCase, HeadCase


def check_cases() -> list[Case]:
    """The family with an untrained checkpoint, and the head on the kit's own rows."""
    return [FamilyCase("acme-ngram", files=_tiny), HeadCase("acme-hinge")]


def _tiny(folder: Path) -> None:
    from headstock_acme.pretrain import pretrain

    pretrain([], folder, steps=0, width=16)
