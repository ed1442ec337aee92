"""Variants: a backbone's graph at another precision, as a backbone of its own, kept only where it proves itself."""

from headstock.variant.make import Made, make_variant
from headstock.variant.precision import PRECISIONS, Precision, precision_named

__all__ = ["PRECISIONS", "Made", "Precision", "make_variant", "precision_named"]
