"""Variants: a backbone's graph at another precision, or with an adapter merged, kept only where it proves itself."""

from headstock.variant.make import Made, make_variant
from headstock.variant.merge import Merged, merge_adapter
from headstock.variant.precision import PRECISIONS, Precision, precision_named

__all__ = ["PRECISIONS", "Made", "Merged", "Precision", "make_variant", "merge_adapter", "precision_named"]
