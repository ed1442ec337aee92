"""What the contract kit tries this plugin on."""

from __future__ import annotations

from functools import partial

from headstock.testing import Case, FamilyCase
from headstock.testing.tiny_clip import make_tiny_clip


def check_cases() -> list[Case]:
    """Each tower by itself: the whole model is both families', and a pull asks which one is meant."""
    towers = {"clip-text": "text", "clip-vision": "vision"}
    return [FamilyCase(family, files=partial(make_tiny_clip, tower=tower)) for family, tower in towers.items()]
