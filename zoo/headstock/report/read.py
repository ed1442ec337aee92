"""Reports as the catalogue keeps them, found by the version that they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headstock.errors import NotFound
from headstock.names import Reference
from headstock.records import Version

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue


def read_report(catalogue: Catalogue, reference: str) -> tuple[Version, Mapping[str, Any]]:
    """The version that `NAME[:V]` means, a name alone the newest, with its report; raises `NotFound`."""
    wanted = Reference.parse(reference)
    version = catalogue.version(wanted) if wanted.selector else catalogue.newest(wanted.name)
    blob = catalogue.artefact(version.subject).files.get("report")
    if blob is None:
        raise NotFound(f"{version} is a {version.kind} and has no report", fix="headstock list --kind model")
    found: Mapping[str, Any] = catalogue.store.read_json(blob)
    return version, found


def reproduce_command(version: Version, report: Mapping[str, Any]) -> str:
    """The command line that makes the same head again from the same data."""
    from shlex import quote

    return f"headstock fine-tune --recipe {version} --data {quote(report['data']['name'])} --name {version.name}-again"
