"""`headstock list`: one line per version, read without SQLAlchemy, torch or numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from headstock.catalogue.listing import Listing, Query, listing, once, read_catalogue
from headstock.cli.output import emit, format_option, human_size
from headstock.digest import short
from headstock.licences.column import POLICY_USE, verdict_column
from headstock.settings import Settings

if TYPE_CHECKING:
    from headstock.licences.values import Value

HEADERS = (
    "NAME",
    "VERSION",
    "ALIASES",
    "KIND",
    "FAMILY",
    "HEAD",
    "BACKBONE",
    "SIZE",
    "SHARED",
    "LICENCE",
    "VERDICT",
    "AGE",
)

_UNITS = (("y", 365 * 86400), ("w", 7 * 86400), ("d", 86400), ("h", 3600), ("m", 60))


@click.command("list")
@click.option("--kind", type=click.Choice(["backbone", "model"]), help="Only entries of this kind.")
@click.option("--all", "all_", is_flag=True, help="Every version, not only the newest and those with an alias.")
@click.option(
    "--may",
    type=click.Choice(["research", "internal", "commercial"]),
    help="Only what the licences allow for this purpose.",
)
@format_option
def command(kind: str | None, all_: bool, may: str | None, format_: str) -> None:
    """List the catalogue: backbones and models.

    SIZE is what the version adds to the disk, SHARED what it uses of a backbone that other models use too. LICENCE is
    what the sources declare, all of it where they differ; VERDICT what it comes to for the use that policy.toml
    describes, or for the purpose of --may.
    """
    settings = Settings.from_environment()

    def read(query: Query) -> tuple[list[Listing], dict[str, Value]]:
        same = once(query)
        return listing(same, kind), verdict_column(settings, same, may or POLICY_USE)

    listings, verdicts = read_catalogue(settings, read) or ([], {})
    shown = [
        {**asdict(item), "verdict": verdicts[item.subject]}
        for item in listings
        if (all_ or item.newest or item.aliases) and (may is None or verdicts[item.subject] == "allow")
    ]
    emit(
        format_,
        shown,
        headers=HEADERS,
        row=_row,
        name=lambda record: f"{record['name']}:{record['version']}",
        empty="nothing here yet; bring a backbone in with: headstock pull SOURCE --name NAME"
        if not listings
        else "the licences of none of these are known to allow that; see: headstock list",
    )


def age(created_at: str, now: datetime | None = None) -> str:
    """How long ago a UTC time was, in the largest unit that fits: `3d`, `5m`, `now`."""
    then = datetime.strptime(created_at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    seconds = int(((now or datetime.now(UTC)) - then).total_seconds())
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return "now"


def _row(record: Mapping[str, Any]) -> list[str]:
    return [
        record["name"],
        str(record["version"]),
        ", ".join(record["aliases"]) or "-",
        record["kind"],
        record["family"] or "-",
        record["head"] or "-",
        record["backbone_name"] if record["kind"] == "model" and record["backbone_name"] else short(record["backbone"]),
        human_size(record["own_bytes"]),
        human_size(record["shared_bytes"]) if record["kind"] == "model" else "-",
        " / ".join(record["licences"]),
        record["verdict"],
        age(record["created_at"]),
    ]
