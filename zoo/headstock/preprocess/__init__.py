"""Preprocessing as data, one implementation for training and serving; no torch."""

from headstock.preprocess.spec import Preprocessor, PreprocessSpec, Row, open_preprocessor

__all__ = ["PreprocessSpec", "Preprocessor", "Row", "open_preprocessor"]
