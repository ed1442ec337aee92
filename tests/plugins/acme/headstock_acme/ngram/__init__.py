"""Texts as averages of hashed character trigrams."""

from headstock_acme.ngram.family import NgramFamily

__all__ = ["NgramFamily"]
