"""`headstock licence`: verdicts with their proofs, decisions, and the licence records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

from headstock.cli.licence_compare import affects, alternatives, bom, diff_policy, drift, outbound
from headstock.cli.output import emit, format_option, visible
from headstock.cli.use_options import context_of, policy_of, use_options

if TYPE_CHECKING:
    from headstock.licences.composition import Verdict

_PARTS = ("model", "backbone", "head", "adapter", "dataset", "source")


@click.group("licence")
def command() -> None:
    """Ask what licences allow, and why; decide what sources leave open.

    Nothing here is legal advice: verdicts follow from the records, the evidence and your policy's stances.
    """


@command.command("why")
@click.argument("reference", metavar="NAME[:VERSION]|DIGEST")
@click.option("--name-as", help="Also check that it may be published under this name.")
@use_options
@format_option
@click.pass_context
def why(ctx: click.Context, /, reference: str, name_as: str | None, format_: str, **use: Any) -> None:
    """Say whether a use is allowed, with the proof.

    Exit code 0 if it may go on (perhaps with a warning), 1 if the policy refuses it. json prints the proof too.
    """
    from headstock.catalogue import Catalogue
    from headstock.licences.composition import judge
    from headstock.licences.gate import read_facts
    from headstock.licences.kept import keep
    from headstock.licences.naming import check_published_name
    from headstock.licences.subjects import find

    with Catalogue.open(create=False) as catalogue:
        settings, facts = catalogue.settings, read_facts(catalogue)
        subject = find(catalogue, facts, reference)
        policy = policy_of(settings, use)
    context = context_of(policy, use)
    verdict = judge(facts, subject, context, policy)
    keep(settings, verdict)
    if name_as is not None:
        check_published_name(name_as, verdict.duties)
    if format_ == "json":
        click.echo(json.dumps([_record(reference, verdict)], indent=2, ensure_ascii=False))
    elif format_ == "quiet":
        click.echo(verdict.value)
    else:
        click.echo(_page(reference, str(context), verdict))
    ctx.exit(0 if verdict.permitted else 1)


def _record(reference: str, verdict: Verdict) -> dict[str, Any]:
    return {
        "reference": reference,
        "value": verdict.value,
        "action": verdict.action,
        "reason": verdict.reason,
        "duties": [asdict(duty) for duty in verdict.duties],
        "findings": [asdict(finding) for finding in verdict.findings],
        "proof_id": verdict.proof_id,
        "proof": verdict.proof,
    }


def _page(reference: str, context: str, verdict: Verdict) -> str:
    from headstock.licences.tree import tree

    lines = [f"{reference}: {context}", f"{verdict.value} ({verdict.action}): {verdict.reason}"]
    lines += ["", *tree(verdict.proof).splitlines()]
    if verdict.duties:
        lines += ["", "Duties"]
        lines += [f"  {d.duty} ({d.licence})" + (f": {d.payload}" if d.payload else "") for d in verdict.duties]
    if verdict.findings:
        lines += ["", "Findings"] + [f"  {f.kind}: {f.message}" for f in verdict.findings]
    lines += ["", f"proof {verdict.proof_id}"]
    return "\n".join(visible(line) for line in lines)


@command.command("replay")
@click.argument("proof_id", metavar="PROOF_ID")
@format_option
def replay(proof_id: str, format_: str) -> None:
    """Compute a kept proof again from its leaves, with the licence records of today.

    Kept are the proofs that 'licence why' printed, and those of fine-tunes and promotions that were warned of or
    refused. Fails if the file was changed, a step does not follow, or a record has changed since.
    """
    from headstock.licences.kept import kept
    from headstock.licences.proof import replay as compute
    from headstock.licences.tree import tree
    from headstock.settings import Settings

    _library()
    proof = kept(Settings.from_environment(), proof_id)
    value = compute(proof)
    if format_ == "json":
        click.echo(json.dumps(proof, indent=2, ensure_ascii=False))
    elif format_ == "quiet":
        click.echo(value)
    else:
        lines = [f"{value}: every step follows from its parts", "", *tree(proof).splitlines()]
        click.echo("\n".join(visible(line) for line in lines))


@command.command("conclude")
@click.argument("reference", metavar="NAME[:VERSION]|DIGEST")
@click.option("--as", "licence", help="SPDX expression, or an id of 'headstock licence list'.")
@click.option("--withdraw", is_flag=True, help="Take the decision back instead.")
@click.option("--part", type=click.Choice(_PARTS), help="Which artefact of the lineage; default: itself.")
@click.option("--reason", required=True, help="Why, and where you read it; kept in the audit log.")
def conclude(reference: str, licence: str | None, withdraw: bool, part: str | None, reason: str) -> None:
    """Decide under which licence an artefact is.

    What sources declare stays on record; the decision counts instead, for every model that stands on it.
    """
    from headstock.catalogue import Catalogue
    from headstock.licences import decisions
    from headstock.licences.gate import read_facts
    from headstock.licences.subjects import find

    if (licence is None) is not withdraw:
        raise click.UsageError("say either --as LICENCE or --withdraw")
    with Catalogue.open(create=False) as catalogue:
        facts = read_facts(catalogue)
        subject = find(catalogue, facts, reference, part or "")
        label = facts.label(subject)
        if licence is None:
            made = decisions.withdraw(catalogue, subject, reason)
            click.echo(f"{label}: decision withdrawn (audit event {made.event}); what sources declare counts again")
        else:
            made = decisions.conclude(catalogue, subject, licence, reason)
            click.echo(f"{label}: concluded {made.expression} (audit event {made.event})")


@command.command("add")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--reason", required=True, help="What it is for: a purchase, a contract; kept in the audit log.")
def add(file: Path, reason: str) -> None:
    """Add a licence record of your own, such as a bought licence with its last day.

    FILE is TOML (docs/licences.md has an example) with an id of yours, LicenseRef-acme-1. Then say what is under it
    with 'headstock licence conclude'.
    """
    from headstock.catalogue import Catalogue
    from headstock.licences import adoption

    with Catalogue.open() as catalogue:
        doc = adoption.add(catalogue, file, reason)
    until = f", until {doc.lifecycle.expires}" if doc.lifecycle.expires else ""
    click.echo(f"{doc.id} is known: {doc.name}{until}")


@command.command("list")
@click.option("--sectors", is_flag=True, help="List the fields of use that records speak of instead.")
@format_option
def list_records(sectors: bool, format_: str) -> None:
    """List the licence records: Headstock's own and yours."""
    library = _library()
    if sectors:
        click.echo("\n".join(library.fields_of_use()))
        return
    docs = [library.get(licence) for licence in library.ids()]
    records = [
        {
            "id": doc.id,
            "name": doc.name,
            "limits": sorted({limit.kind for limit in doc.restrictions}),
            "outbound": doc.outbound.mode,
            "complete": doc.complete,
        }
        for doc in docs
    ]
    emit(
        format_,
        records,
        headers=("ID", "LIMITS", "SHARING", "NAME"),
        row=_row,
        name=lambda record: str(record["id"]),
    )


_SHARING = {"any": "any licence", "keep": "terms kept", "same": "same licence", "none": "unchanged only"}


def _row(record: Mapping[str, Any]) -> list[str]:
    limits = ", ".join(record["limits"]) or "-"
    return [record["id"], limits if record["complete"] else f"{limits} (not read in full)",
            _SHARING[record["outbound"]], record["name"]]  # fmt: skip


@command.command("show")
@click.argument("licence", metavar="LICENCE")
def show(licence: str) -> None:
    """Show what is known about LICENCE: its id, or what a hub calls it."""
    from headstock.errors import InvalidInput
    from headstock.licences.aliases import resolve

    library = _library()
    meaning = resolve(licence)
    if meaning.kind == "ambiguous":
        raise InvalidInput(
            f"{licence!r} may mean {', '.join(meaning.candidates) or 'several licences'}: {meaning.why}",
            fix=f"headstock licence show {meaning.candidates[0]}" if meaning.candidates else None,
        )
    ids = meaning.expression.licences() if meaning.expression else (licence,)
    for name in ids:
        doc = library.get(name)
        click.echo(json.dumps({**asdict(doc), "digest": doc.digest}, indent=2, ensure_ascii=False))


def _library() -> ModuleType:
    """The records of this installation, the operator's among them."""
    from headstock.licences import library
    from headstock.licences.folder import FOLDER
    from headstock.settings import Settings

    library.use(Settings.from_environment().home / FOLDER)
    return library


for _each in (diff_policy, affects, outbound, alternatives, bom, drift):
    command.add_command(_each)
