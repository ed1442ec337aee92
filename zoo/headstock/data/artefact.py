"""A table as the lineage names it."""

from __future__ import annotations

from headstock.data.table import Table
from headstock.records import Artefact, artefact_of


def dataset_artefact(table: Table, sha256: str, rows: int | None = None) -> Artefact:
    """What was learned from `table`, whose `data_digest` is `sha256`; `rows` of it where not all are its own."""
    identity = {
        "kind": "dataset",
        "sha256": sha256,
        "rows": len(table) if rows is None else rows,
        "columns": list(table.columns),
        "name": table.name,
    }
    return artefact_of("dataset", identity)
