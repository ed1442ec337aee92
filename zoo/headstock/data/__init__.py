"""Data sets: files and folders read into tables, columns given roles, rows checked and split."""

from headstock.data.dataset import Dataset, read_dataset
from headstock.data.read import SUFFIXES, read_table
from headstock.data.table import Table

__all__ = ["SUFFIXES", "Dataset", "Table", "read_dataset", "read_table"]
