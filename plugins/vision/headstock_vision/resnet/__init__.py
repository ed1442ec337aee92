"""ResNet (v1.5): residual networks of basic or bottleneck blocks."""

from headstock_vision.resnet.family import ResNetFamily

__all__ = ["ResNetFamily"]
