"""EfficientNet: mobile inverted bottlenecks, scaled in width, depth and resolution together."""

from headstock_vision.efficientnet.family import EfficientNetFamily

__all__ = ["EfficientNetFamily"]
