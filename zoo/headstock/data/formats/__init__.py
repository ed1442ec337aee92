"""Readers of data files, one per format; each gives columns and the place of every row."""
