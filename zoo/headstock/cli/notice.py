"""`headstock notice`: the NOTICE document of a version."""

from __future__ import annotations

from pathlib import Path

import click

from headstock.cli.out_file import out_option, write_out


@click.command("notice")
@click.argument("reference", metavar="NAME[:VERSION]|DIGEST")
@out_option
def command(reference: str, out: Path | None) -> None:
    """Print the notices that go with a version: licences of its whole lineage, their texts, statements and duties.

    Equal bytes for equal facts. Texts are those that came with the artefacts; what did not come is listed.
    """
    from headstock.catalogue import Catalogue
    from headstock.licences.gate import read_facts
    from headstock.licences.notice import notice
    from headstock.licences.policy import Policy
    from headstock.licences.subjects import find

    with Catalogue.open(create=False) as catalogue:
        facts = read_facts(catalogue)
        subject = find(catalogue, facts, reference)
        policy = Policy.load(catalogue.settings)
        document = notice(facts, facts.label(subject), subject, policy, catalogue.store.read_bytes)
    if out is None:
        click.echo(document, nl=False)
    else:
        write_out(out, document, "notices")
        click.echo(f"wrote {out}", err=True)
