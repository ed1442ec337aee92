"""Both towers of a checkpoint, aligned on pairs of images and texts."""

from headstock_multimodal.align.align import Aligned, align
from headstock_multimodal.align.plan import Alignment, plan_alignment

__all__ = ["Aligned", "Alignment", "align", "plan_alignment"]
