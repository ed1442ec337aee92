"""ViT: a transformer encoder over square patches."""

from headstock_vision.vit.family import VitFamily

__all__ = ["VitFamily"]
