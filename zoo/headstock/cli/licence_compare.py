"""The commands of `headstock licence` that compare: policies, licences of a backbone, backbones, and then with now."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from headstock.cli.output import emit, format_option
from headstock.cli.use_options import context_of, policy_of, stated, use_options

if TYPE_CHECKING:
    from headstock.licences.compare import Change


@click.command("diff-policy")
@click.argument("first", metavar="POLICY_A", type=click.Path(path_type=Path))
@click.argument("second", metavar="POLICY_B", type=click.Path(path_type=Path))
@use_options
@format_option
def diff_policy(first: Path, second: Path, format_: str, **use: Any) -> None:
    """Say which versions two policy files treat differently.

    `default` and `current` stand for Headstock's own policy and this installation's. Each policy is asked about its own
    context unless options say another.
    """
    from headstock.catalogue import Catalogue
    from headstock.licences.compare import current, policy_changes
    from headstock.licences.gate import read_facts
    from headstock.licences.policy import Policy

    with Catalogue.open(create=False) as catalogue:
        named = {"default": Policy.default(), "current": Policy.load(catalogue.settings)}
        policies = [named[str(p)] if str(p) in named else Policy.read(p) for p in (first, second)]
        facts, versions = read_facts(catalogue), current(catalogue)
    context = context_of(policies[0], use) if stated(use) else None
    _emit(format_, list(policy_changes(facts, versions, policies[0], policies[1], context)), "nothing changes")


@click.command("affects")
@click.argument("reference", metavar="BACKBONE|DIGEST")
@click.option("--as", "licence", help="What if it were under this licence.")
@use_options
@format_option
def affects(reference: str, licence: str | None, format_: str, **use: Any) -> None:
    """List every version that an artefact's licence reaches, with its verdict; --as asks what if."""
    from headstock.catalogue import Catalogue
    from headstock.licences.compare import Change, affected
    from headstock.licences.composition import judge
    from headstock.licences.decisions import known_expression
    from headstock.licences.gate import read_facts
    from headstock.licences.subjects import find

    with Catalogue.open(create=False) as catalogue:
        facts, versions = read_facts(catalogue), catalogue.versions()
        digest = find(catalogue, facts, reference)
        policy = policy_of(catalogue.settings, use)
    context = context_of(policy, use)
    changed = facts if licence is None else facts.with_conclusion(digest, known_expression(licence))
    rows = [
        Change(
            version,
            judge(facts, version.subject, context, policy),
            judge(changed, version.subject, context, policy),
        )
        for version in affected(facts, versions, digest)
    ]
    _emit(format_, rows, "no version stands on it")


@click.command("outbound")
@click.argument("reference", metavar="NAME[:VERSION]|DIGEST")
def outbound(reference: str) -> None:
    """Say under what a version may be shared, head and backbone taken as one work."""
    from headstock.catalogue import Catalogue
    from headstock.licences import whole
    from headstock.licences.gate import read_facts
    from headstock.licences.policy import Policy
    from headstock.licences.subjects import find

    with Catalogue.open(create=False) as catalogue:
        facts, policy = read_facts(catalogue), Policy.load(catalogue.settings)
        contents = whole.whole(facts, find(catalogue, facts, reference), policy)
    found = whole.outbound(contents)
    click.echo(f"contains {', '.join(map(str, contents.terms)) or 'nothing with a stated licence'}")
    if found.free:
        click.echo(
            f"may be shared under any licence that keeps the notices; plain choices: {', '.join(found.licences)}"
        )
    elif found.licences:
        click.echo(f"may be shared under {' or '.join(found.licences)}")
    elif found.value == "unknown":
        click.echo(f"it is not known under what it may be shared: {found.why}")
    else:
        click.echo(f"may not be shared as a changed work: {found.why}")


@click.command("bom")
@click.argument("reference", metavar="NAME[:VERSION]")
@click.option(
    "--spec",
    type=click.Choice(["1.6", "1.7", "spdx-3.0.1"]),
    default="1.6",
    show_default=True,
    help="CycloneDX version, or SPDX.",
)
def bom(reference: str, spec: Literal["1.6", "1.7", "spdx-3.0.1"]) -> None:
    """Print the bill of materials of a version: lineage, declared and concluded licences, data, metrics.

    CycloneDX JSON, or SPDX 3.0.1 JSON-LD with the AI and Dataset profiles.
    """
    from headstock.catalogue import Catalogue
    from headstock.licences import cyclonedx
    from headstock.licences.documents.spdx import spdx
    from headstock.licences.gate import read_facts
    from headstock.names import Reference

    with Catalogue.open(create=False) as catalogue:
        version = catalogue.version(Reference.parse(reference))
        facts = read_facts(catalogue)
    document = spdx(facts, version) if spec == "spdx-3.0.1" else cyclonedx.bom(facts, version, spec)
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True))


@click.command("alternatives")
@click.argument("reference", metavar="BACKBONE")
@use_options
@format_option
def alternatives(reference: str, format_: str, **use: Any) -> None:
    """List backbones with the taps and inputs of BACKBONE whose licences allow the use."""
    from headstock.catalogue import Catalogue
    from headstock.licences.compare import current, replacements
    from headstock.licences.gate import read_facts
    from headstock.licences.settled import settle
    from headstock.licences.subjects import find

    with Catalogue.open(create=False) as catalogue:
        facts, versions = read_facts(catalogue), current(catalogue)
        backbone = find(catalogue, facts, reference, "backbone")
        policy = policy_of(catalogue.settings, use)
    found = replacements(facts, versions, backbone, context_of(policy, use), policy)
    emit(
        format_,
        [{"version": str(v), "licence": settle(facts, v.subject).declared} for v in found],
        headers=("VERSION", "LICENCE"),
        row=lambda record: [record["version"], record["licence"]],
        name=lambda record: str(record["version"]),
        empty="no backbone with the same interface allows this use",
    )


@click.command("drift")
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("--folder", type=click.Path(path_type=Path), help="Where a path: source lies now; with one NAME.")
@click.option("--accept", "accepted", is_flag=True, help="Conclude what the source of NAME names now.")
@click.option("--reason", help="With --accept: why; kept in the audit log.")
@format_option
def drift(names: tuple[str, ...], folder: Path | None, accepted: bool, reason: str | None, format_: str) -> None:
    """Compare what sources say today with what they said when NAME, or any backbone, was pulled: tag, card, texts.

    Asks the hub (HF_ENDPOINT), or reads --folder. Changes no verdict unless you --accept.
    """
    from headstock.catalogue import Catalogue
    from headstock.licences.drift import accept, drifts

    if (accepted or folder is not None) and len(names) != 1:
        raise click.UsageError("--accept and --folder are about one NAME")
    if accepted is (reason is None):
        raise click.UsageError("--accept and --reason go together")
    with Catalogue.open(create=False) as catalogue:
        if reason is not None:
            made = accept(catalogue, names[0], reason, folder)
            click.echo(f"{names[0]}: concluded {made.expression} (audit event {made.event})")
            return
        found = drifts(catalogue, names, folder)
    emit(
        format_,
        [asdict(d) for d in found],
        headers=("VERSION", "DRIFT", "PINNED", "NOW", "DIFFERS", "TO ACCEPT"),
        row=lambda r: [
            r["version"],
            r["direction"],
            r["pinned"],
            r["now"],
            "; ".join(r["changes"]) or "-",
            r["accept"] or "-",
        ],
        name=lambda record: str(record["version"]),
        empty="no backbone was pulled from a hub or a folder",
    )


def _emit(format_: str, changes: Sequence[Change], empty: str) -> None:
    records = [
        {
            "version": str(change.version),
            "before": change.before.value,
            "after": change.after.value,
            "action_before": change.before.action,
            "action_after": change.after.action,
            "direction": change.direction,
            "reason": change.after.reason,
        }
        for change in changes
    ]
    emit(
        format_,
        records,
        headers=("VERSION", "BEFORE", "AFTER", "REASON"),
        row=lambda r: [
            r["version"],
            f"{r['before']} ({r['action_before']})",
            f"{r['after']} ({r['action_after']})",
            r["reason"],
        ],
        name=lambda record: str(record["version"]),
        empty=empty,
    )
