"""The hooks of the multimodal plugin: which families it has."""

from __future__ import annotations

from collections.abc import Sequence

from headstock.hookspecs import BackboneFamily, hookimpl
from headstock_multimodal.clip_text import ClipTextFamily
from headstock_multimodal.clip_vision import ClipVisionFamily


@hookimpl
def backbone_families() -> Sequence[BackboneFamily]:
    """Families of this plugin."""
    return [ClipTextFamily(), ClipVisionFamily()]
