"""Content-addressed blobs: every byte that the catalogue names, filed under its own digest."""

from headstock.store.admission import Content, admit
from headstock.store.blobs import BlobStore

__all__ = ["BlobStore", "Content", "admit"]
