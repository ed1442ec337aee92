"""Models by name: what is loaded, what an alias means now, what failed and why."""

from headstock_server.engine import LoadedModel
from headstock_server.repository.index import IndexRow, Snapshot
from headstock_server.repository.repository import Repository

__all__ = ["IndexRow", "LoadedModel", "Repository", "Snapshot"]
