"""`headstock families`: what can be pulled, from manifests alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click

from headstock.cli.output import emit, format_option
from headstock.cli.plugins import warn_of_conflicts

_FAMILY_HEADERS = ("FAMILY", "MODALITY", "PRESETS", "PLUGIN", "DESCRIPTION")
_PRESET_HEADERS = ("PRESET", "FAMILY", "SOURCE", "REVISION", "LICENCE", "INPUT", "PARAMETERS")


@click.command("families")
@click.option(
    "--presets",
    is_flag=True,
    help="One row per known set of weights; what an `unpinned` one holds today, nobody has checked.",
)
@format_option
def command(presets: bool, format_: str) -> None:
    """List the backbone families that plugins declare; nothing is imported."""
    from headstock.plugin_host import open_host

    host = open_host()
    warn_of_conflicts(host, "family")
    families = host.families()
    if presets:
        records = [{**asdict(p), "family": f.name, "modality": f.modality} for f in families for p in f.presets]
        emit(
            format_,
            records,
            headers=_PRESET_HEADERS,
            row=_preset_row,
            name=lambda r: r["name"],
            empty="no plugin has presets",
        )
    else:
        records = [asdict(f) for f in families]
        emit(
            format_,
            records,
            headers=_FAMILY_HEADERS,
            row=_family_row,
            name=lambda r: r["name"],
            empty="no plugin has families",
        )


def _family_row(record: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        record["name"],
        record["modality"],
        str(len(record["presets"])),
        record["plugin"],
        record["description"],
    )


def _preset_row(record: Mapping[str, Any]) -> tuple[str, ...]:
    revision = record["revision"][:12] or "unpinned"
    parameters = f"{record['parameters'] / 1e6:.1f} M" if record["parameters"] else ""
    return record["name"], record["family"], record["source"], revision, record["licence"], record["input"], parameters
