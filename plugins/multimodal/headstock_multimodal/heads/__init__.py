"""Heads of the embedding space of two towers: computed from class names, or the tower's own vectors."""

from headstock_multimodal.heads.vectors import make_vectors
from headstock_multimodal.heads.zero_shot import ZeroShot, make_zero_shot

__all__ = ["ZeroShot", "make_vectors", "make_zero_shot"]
