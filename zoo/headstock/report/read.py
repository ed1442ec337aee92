"""Reports as the catalogue keeps them, found by the version that they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote
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
    """The command line that makes the same again from the same data; `FILE` where the report names none."""
    data = _named(report.get("data"))
    if (change := report.get("update")) is not None:
        solver = f" --solver {report['strategy'].rpartition(' ')[2]}" if change["act"] == "refit" else ""
        return f"headstock update {change['parent']} --{change['act']} {data}{solver}"
    if "adaptation" in report:
        target = _named(report.get("target"))
        return f"headstock adapt --recipe {version} --data {data} --target {target} --name {version.name}-again"
    if "retrieval" in report:
        # Both towers have the one recipe, and the command makes both.
        both = version.name.removesuffix("-image").removesuffix("-text")
        return f"headstock align --recipe {version} --data {data} --name {both}-again"
    if "held_out" in report:
        return f"headstock continue --recipe {version} --data {data} --name {version.name}-again"
    replay = (report.get("continued") or {}).get("replay_data")
    more = f" --replay-data {quote(replay)}" if replay else ""
    trained = f"headstock fine-tune --recipe {version} --data {data}{more} --name {version.name}-again"
    if "merged" not in version.details:
        return trained
    return f"{trained} && headstock variant {version.name}-again --merge-adapter"


def _named(data: Mapping[str, Any] | None) -> str:
    return quote((data or {}).get("name") or "FILE")
