"""VGG: plain stacks of 3 x 3 convolutions."""

from headstock_vision.vgg.family import VggFamily

__all__ = ["VggFamily"]
