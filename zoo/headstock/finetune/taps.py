"""The tap that a head stands on when nobody names one."""

from __future__ import annotations

from collections.abc import Sequence

from headstock.hookspecs import HeadType
from headstock.records import Tap

WHOLE_SAMPLE = ("mean", "pooled")
"""Names that families give to their one vector per sample; where a head asks for one of them, another will do."""


def default_tap(head_type: HeadType, taps: Sequence[Tap]) -> str:
    """The head type's own tap, or the one that means the same here; its own again where there is none."""
    names = [tap.name for tap in taps]
    if head_type.tap in names or head_type.tap not in WHOLE_SAMPLE:
        return head_type.tap
    return next((name for name in WHOLE_SAMPLE if name in names), head_type.tap)
