"""timm's checkpoints of architectures that transformers has too: its names, read without timm."""

from headstock_vision.timm.layout import TimmLayout

__all__ = ["TimmLayout"]
