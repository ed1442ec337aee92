"""Ranking: which backbone of the catalogue to grow a model on, before anything is trained."""
