"""What is commonly known about the licences of well-known repositories, for parents that were never fetched."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from headstock.digest import Digest
from headstock.evidence import Evidence
from headstock.licences.library import read_toml

_DATA = Path(__file__).parent / "data" / "checkpoints.toml"


@cache
def _table() -> Mapping[str, list[dict[str, Any]]]:
    return read_toml(_DATA)


def known_statements(repository: str, subject: Digest) -> tuple[Evidence, ...]:
    """Statements about `hf:ORG/NAME`, each with where it was read; none for a repository that is not in the table."""
    return tuple(
        Evidence(subject, "licence", row["licence"], "known-checkpoint", row["locator"], row.get("raw", ""), "weights")
        for row in _table().get(repository, [])
    )
