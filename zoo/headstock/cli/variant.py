"""`headstock variant`: a backbone at another precision, or a model with its adapter merged, if it proves itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from headstock.cli.output import format_option
from headstock.errors import FailedPrecondition, InvalidInput

if TYPE_CHECKING:
    from headstock.backbone.prepare import Progress
    from headstock.catalogue import Catalogue
    from headstock.names import Reference
    from headstock.variant import Merged


@click.command("variant")
@click.argument("name", metavar="NAME[:VERSION|:ALIAS]")
@click.option("--precision", help="Of a backbone: int8-per-token, int8-weight-only, int8-static, fused-fp32 or fp16.")
@click.option("--merge-adapter", is_flag=True, help="Of a model: make its LoRA adapter a part of weights of its own.")
@click.option(
    "--for",
    "device",
    type=click.Choice(["cpu", "cuda"]),
    help="Where a precision must prove itself; this machine needs that device.  [default: cpu]",
)
@click.option("--name", "entry", help="Entry that gets the next version; default: NAME-PRECISION or NAME-merged.")
@format_option
def command(
    name: str, precision: str | None, merge_adapter: bool, device: Any, entry: str | None, format_: str
) -> None:
    """Make a backbone smaller or faster at another precision, or merge a model's adapter into it.

    \b
    headstock variant minilm --precision int8-per-token
    headstock variant tickets --merge-adapter

    A precision gives a backbone of its own, with its own digest, and heads are fine-tuned on it as on any other. It is
    measured beside the plain graph and enters the catalogue only if its vectors stay near the plain ones and a row's
    answer does not depend on the rows beside it.

    Merging gives a model with the same head on a backbone of its own, and no adapter. It is measured beside the form
    that it had and enters the catalogue only if features and answers stay within 1e-4. Its rows cost what rows without
    an adapter cost, but share no pass with those of other adapters, and it takes a session: for the one adapter that
    most requests ask for.
    """
    from headstock.catalogue import Catalogue
    from headstock.cli import variant_lines
    from headstock.names import Reference

    if (precision is not None) == merge_adapter:
        raise InvalidInput("expected one of --precision and --merge-adapter", fix="headstock variant --help")
    if merge_adapter and device is not None:
        raise InvalidInput(
            "--for is about a precision; a merged model is measured on every device of this machine",
            fix="leave --for out",
        )
    reference = Reference.parse(name)
    say = _say if format_ == "table" else None
    with Catalogue.open(create=False) as catalogue:
        if precision is None:
            merged = _merge(catalogue, reference, entry or f"{reference.name}-merged", say)
            variant_lines.show(format_, merged.version, variant_lines.of_merged(merged))
        else:
            from headstock.variant import make_variant

            made = make_variant(
                catalogue, reference, precision, entry or f"{reference.name}-{precision}", say, device or "cpu"
            )
            variant_lines.show(format_, made.version, variant_lines.of_made(made))


def _merge(catalogue: Catalogue, reference: Reference, entry: str, say: Progress | None) -> Merged:
    from headstock.plugin_host import open_host

    try:
        import torch  # noqa: F401 - asked for here, so that its absence is told in words
    except ImportError as error:
        raise FailedPrecondition(
            "torch is not installed, and merging exports the backbone anew", fix="pip install 'headstock[train]'"
        ) from error
    from headstock.variant import merge_adapter

    return merge_adapter(catalogue, open_host(catalogue.settings), reference, entry, say)


def _say(step: str) -> None:
    click.echo(step, err=True)
