"""`headstock card`: the model card of a version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headstock.cli.out_file import out_option, write_out
from headstock.cli.use_options import context_of, policy_of, use_options


@click.command("card")
@click.argument("reference", metavar="NAME[:VERSION]")
@out_option
@use_options
def command(reference: str, out: Path | None, **use: Any) -> None:
    """Print the model card of a version: hub metadata, licences, lineage, figures, and how to make it again.

    Equal bytes for equal facts. The licence in its front matter is the one that is concluded or declared for the
    version itself; where nobody said one it is `unknown`.
    """
    from headstock.catalogue import Catalogue
    from headstock.licences.composition import judge
    from headstock.licences.documents.card import Subject, card
    from headstock.licences.gate import read_facts
    from headstock.names import Reference

    with Catalogue.open(create=False) as catalogue:
        version = catalogue.version(Reference.parse(reference))
        facts = read_facts(catalogue)
        policy = policy_of(catalogue.settings, use)
        report = catalogue.artefact(version.subject).files.get("report")
        kept = catalogue.store.read_json(report) if report else {}
    context = context_of(policy, use)
    verdict = judge(facts, version.subject, context, policy)
    document = card(Subject(facts, version, verdict, str(context), kept))
    if out is None:
        click.echo(document, nl=False)
    else:
        write_out(out, document, "card")
        click.echo(f"wrote {out}", err=True)
