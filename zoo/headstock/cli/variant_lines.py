"""What `headstock variant` prints of what it made: a JSON record, the version alone, or lines for a person."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from headstock.cli.output import table
from headstock.digest import short

if TYPE_CHECKING:
    from headstock.records import Certificate, Version
    from headstock.variant import Made, Merged
    from headstock.variant.measure import Speed


class Lines(NamedTuple):
    """One thing that was made, in both forms."""

    record: dict[str, Any]
    page: Sequence[str]


def show(format_: str, version: Version, lines: Lines) -> None:
    """Print it as `--format` asks."""
    if format_ == "json":
        click.echo(json.dumps([lines.record], indent=2))
    elif format_ == "quiet":
        click.echo(str(version))
    else:
        for line in lines.page:
            click.echo(line)


def of_made(made: Made) -> Lines:
    """A backbone at another precision."""

    def page() -> Iterator[str]:
        yield f"{made.version}  {short(made.version.subject)}  {made.version.details['source']}"
        for tap, found in made.agreement.items():
            yield f"agreement    {tap}: cosine at least {found.cosine:.5f}, largest error {found.max_error:.2g}"
        yield _certificate(made.certificate)
        yield _speeds(made.speeds, "plain", "variant")

    return Lines(_record(made.version, "variant_of", "precision"), list(page()))


def of_merged(merged: Merged) -> Lines:
    """A model whose adapter is in its weights."""
    of = merged.version.details["merged"]

    def page() -> Iterator[str]:
        yield (
            f"{merged.version}  {short(merged.version.subject)}  {of['model']} with its adapter "
            f"{short(of['adapter'])} of rank {of['rank']} merged"
        )
        for what, found in merged.parity.items():
            yield f"agreement    {what}: largest error {found.max_error:.2g} of {found.scale:.3g}"
        yield _certificate(merged.certificate)
        yield _speeds(merged.speeds, "adapter", "merged")

    return Lines(_record(merged.version, "merged"), list(page()))


def _record(version: Version, *more: str) -> dict[str, Any]:
    return {"name": version.name, "version": version.number, "digest": version.subject} | {
        key: version.details[key] for key in (*more, "agreement", "speeds")
    }


def _certificate(proof: Certificate) -> str:
    equal = "bit-equal" if proof.tolerance == 0.0 else f"within {proof.measured:.2g} (allowed {proof.tolerance:g})"
    return f"certificate  alone and together {equal} ({proof.provider}), up to {proof.rows} rows: may share batches"


def _speeds(speeds: Sequence[Speed], one: str, other: str) -> str:
    return table(
        ["rows", "length", f"{one} ms", f"{other} ms", f"{other} / {one}"],
        [[str(s.rows), str(s.length), f"{s.plain_ms:.2f}", f"{s.variant_ms:.2f}", f"{s.ratio:.2f}"] for s in speeds],
    )
