"""Headstock: a model zoo of backbones and heads, served by one pass per backbone."""

__version__ = "0.1.0"
