"""What the distribution of a plugin says about the licence of its code: another question than that of weights."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from importlib import metadata

from headstock.evidence import Evidence
from headstock.records import Artefact
from headstock.sources.fetched import Statement
from headstock.sources.package import distribution_statements


def code_evidence(plugin: Artefact) -> tuple[Evidence, ...]:
    """Statements about a `plugin` artefact, from the metadata and licence texts of its distribution.

    None where that version is not what is installed, or the distribution says nothing.
    """
    said = _said(str(plugin.identity["distribution"]), str(plugin.identity["version"]))
    return tuple(statement.about(plugin.digest) for statement in said)


@lru_cache(maxsize=64)
def _said(distribution: str, version: str) -> tuple[Statement, ...]:
    try:
        found = metadata.distribution(distribution)
    except (metadata.PackageNotFoundError, ValueError):
        return ()
    if found.version != version:
        return ()
    said = distribution_statements(found, f"distribution:{distribution}@{version}")
    return tuple(replace(statement, scope="code") for statement in said)
