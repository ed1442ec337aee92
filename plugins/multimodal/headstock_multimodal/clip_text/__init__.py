"""CLIP's text tower."""

from headstock_multimodal.clip_text.family import ClipTextFamily

__all__ = ["ClipTextFamily"]
