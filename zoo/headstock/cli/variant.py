"""`headstock variant`: a backbone at another precision, kept only where it proves itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from headstock.cli.output import format_option, table

if TYPE_CHECKING:
    from headstock.variant import Made


@click.command("variant")
@click.argument("backbone", metavar="BACKBONE[:VERSION|:ALIAS]")
@click.option("--precision", required=True, help="int8-per-token, int8-weight-only, int8-static, fused-fp32 or fp16.")
@click.option(
    "--for",
    "device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where it must prove itself; this machine needs that device.",
)
@click.option("--name", help="Entry that gets the next version; default: BACKBONE-PRECISION.")
@format_option
def command(backbone: str, precision: str, device: Any, name: str | None, format_: str) -> None:
    """Make a backbone's graph smaller or faster at another precision.

    The variant is a backbone of its own, with its own digest, and heads are fine-tuned on it as on any other. It is
    measured beside the plain graph and enters the catalogue only if its vectors stay near the plain ones and a row's
    answer does not depend on the rows beside it.
    """
    from headstock.catalogue import Catalogue
    from headstock.names import Reference
    from headstock.variant import make_variant

    reference = Reference.parse(backbone)
    with Catalogue.open(create=False) as catalogue:
        made = make_variant(
            catalogue,
            reference,
            precision,
            name or f"{reference.name}-{precision}",
            _say if format_ == "table" else None,
            device,
        )
    if format_ == "json":
        import json

        click.echo(json.dumps([_record(made)], indent=2))
    elif format_ == "quiet":
        click.echo(str(made.version))
    else:
        for line in _summary(made):
            click.echo(line)


def _record(made: Made) -> dict[str, Any]:
    return {"name": made.version.name, "version": made.version.number, "digest": made.version.subject} | {
        key: made.version.details[key] for key in ("variant_of", "precision", "agreement", "speeds")
    }


def _summary(made: Made) -> Iterator[str]:
    from headstock.digest import short

    details = made.version.details
    yield f"{made.version}  {short(made.version.subject)}  {details['source']}"
    for tap, found in made.agreement.items():
        yield f"agreement    {tap}: cosine at least {found.cosine:.5f}, largest error {found.max_error:.2g}"
    proof = made.certificate
    equal = "bit-equal" if proof.tolerance == 0.0 else f"within {proof.measured:.2g} (allowed {proof.tolerance:g})"
    yield f"certificate  alone and together {equal} ({proof.provider}), up to {proof.rows} rows: may share batches"
    yield table(
        ["rows", "length", "plain ms", "variant ms", "variant / plain"],
        [
            [str(s.rows), str(s.length), f"{s.plain_ms:.2f}", f"{s.variant_ms:.2f}", f"{s.ratio:.2f}"]
            for s in made.speeds
        ],
    )


def _say(step: str) -> None:
    click.echo(step, err=True)
