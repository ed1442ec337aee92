"""CLIP's vision tower."""

from headstock_multimodal.clip_vision.family import ClipVisionFamily

__all__ = ["ClipVisionFamily"]
