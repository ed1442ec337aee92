"""The hooks of the plugin."""

from __future__ import annotations

from collections.abc import Sequence

from headstock.hookspecs import BackboneFamily, HeadType, hookimpl
from headstock_acme.hinge import HingeHead
from headstock_acme.ngram import NgramFamily


@hookimpl
def backbone_families() -> Sequence[BackboneFamily]:
    """Families of this plugin."""
    return [NgramFamily()]


@hookimpl
def head_types() -> Sequence[HeadType]:
    """Head types of this plugin."""
    return [HingeHead()]
