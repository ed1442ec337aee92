"""The hooks of the vision plugin: which families, head types and objectives it has."""

from __future__ import annotations

from collections.abc import Sequence

from headstock.hookspecs import BackboneFamily, HeadType, Objective, hookimpl
from headstock_vision.efficientnet import EfficientNetFamily
from headstock_vision.heads import HEADS
from headstock_vision.objectives import OBJECTIVES
from headstock_vision.resnet import ResNetFamily
from headstock_vision.vgg import VggFamily
from headstock_vision.vit import VitFamily


@hookimpl
def backbone_families() -> Sequence[BackboneFamily]:
    """Families of this plugin."""
    return [ResNetFamily(), EfficientNetFamily(), VitFamily(), VggFamily()]


@hookimpl
def head_types() -> Sequence[HeadType]:
    """Head types of this plugin."""
    return HEADS


@hookimpl
def objectives() -> Sequence[Objective]:
    """Objectives of this plugin."""
    return OBJECTIVES
