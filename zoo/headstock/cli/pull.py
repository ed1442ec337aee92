"""`headstock pull`: bring a backbone into the catalogue."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from headstock.cli.output import format_option

if TYPE_CHECKING:
    from headstock.backbone.prepare import Progress
    from headstock.catalogue import Catalogue
    from headstock.records import Version


@click.command("pull")
@click.argument("source")
@click.option("--name", required=True, help="Entry that gets the next version.")
@click.option("--family", help="Family that loads it; default: the one that recognises it.")
@format_option
def command(source: str, name: str, family: str | None, format_: str) -> None:
    """Bring a backbone into the catalogue.

    SOURCE is hf:ORG/NAME[@REVISION], path:DIR or package:MODULE. The weights are hashed, exported to ONNX, checked
    against torch, and checked for rows that change with their neighbours; what the source says about its licence is
    recorded, every voice by itself.
    """
    # Before anything imports the hub client or transformers: both read these once.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from headstock.backbone.pull import pull
    from headstock.catalogue import Catalogue
    from headstock.plugin_host import open_host

    with Catalogue.open() as catalogue:
        with _steps() as step:
            version = pull(catalogue, open_host(), source, name, family=family, progress=step)
        record = _record(catalogue, version)
    _print(record, format_)


def _record(catalogue: Catalogue, version: Version) -> dict[str, Any]:
    """What a pull has to say, as JSON values."""
    from headstock.licences import Policy, verdict
    from headstock.licences.naming import misnamed

    certificate = catalogue.certificate(version.subject)
    licences = [e for e in catalogue.evidence(version.subject) if e.field == "licence"]
    policy = Policy.load(catalogue.settings)
    found = verdict(catalogue, version.subject, policy=policy)
    wrong = None if policy.deny == "off" else misnamed(version.name, found.duties)
    return {
        "name": version.name,
        "version": version.number,
        "digest": version.subject,
        "source": version.details["source"],
        "parity": version.details["parity"],
        "shared": certificate is not None and certificate.shared,
        "measured": certificate.measured if certificate else None,
        "tolerance": certificate.tolerance if certificate else None,
        "provider": certificate.provider if certificate else None,
        "licences": [{"licence": e.value, "source": e.source, "locator": e.locator} for e in licences],
        "verdict": {
            "value": found.value,
            "action": found.action,
            "reason": found.reason,
            "context": str(policy.context),
            "proof_id": found.proof_id,
        },
        "name_duty": {"message": wrong.message, "fix": wrong.fix} if wrong else None,
        "seconds": version.details["seconds"],
    }


def _print(record: dict[str, Any], format_: str) -> None:
    if format_ == "json":
        import json

        click.echo(json.dumps([record], indent=2, ensure_ascii=False))
    elif format_ == "quiet":
        click.echo(f"{record['name']}:{record['version']}")
    else:
        for line in _summary(record):
            click.echo(line)
    # On stderr and in every format: a script that reads the output must not hide what a person should know.
    for warning in _warnings(record):
        click.echo(f"warning: {warning}", err=True)


def _summary(record: dict[str, Any]) -> Iterator[str]:
    from headstock.digest import short

    yield f"{record['name']}:{record['version']}  {short(record['digest'])}  {record['source']}"
    error = max((tap["max_error"] for tap in record["parity"].values()), default=0.0)
    yield f"parity       graph and torch differ by at most {error:.2g} over {', '.join(record['parity'])}"
    if record["shared"]:
        bits = "bit-equal" if record["measured"] == 0 else f"within {record['tolerance']:.2g}"
        yield f"certificate  alone and together {bits} ({record['provider']}): may share batches"
    else:
        yield f"certificate  FAILED ({record['provider']}): will not share batches"
    for statement in record["licences"]:
        yield f"licence      {statement['licence']}  ({statement['source']}: {statement['locator']})"
    verdict = record["verdict"]
    yield f"verdict      {verdict['value']} to {verdict['context']}: {verdict['reason']}"


def _warnings(record: dict[str, Any]) -> Iterator[str]:
    if not record["shared"]:
        yield (
            f"a row of this backbone moves by {record['measured']:.3g} when its neighbours change "
            f"(allowed {record['tolerance']:.2g}), so it may not serve shared batches"
        )
    stated = sorted({s["licence"] for s in record["licences"]} - {"NOASSERTION"})
    if not stated:
        yield "no source states a licence that could be understood: NOASSERTION"
    elif len(stated) > 1:
        yield f"the sources contradict each other about the licence: {', '.join(stated)}"
    verdict = record["verdict"]
    if verdict["value"] == "deny" and verdict["action"] != "allow":
        yield (
            f"its licence does not allow to {verdict['context']}, so models on it will be refused: "
            f"{verdict['reason']}; see headstock licence why {record['name']}"
        )
    if record["name_duty"]:
        yield f"{record['name_duty']['message']}; {record['name_duty']['fix']}"


@contextmanager
def _steps() -> Iterator[Progress]:
    """Where steps are told: a spinner on a terminal, plain lines elsewhere; always on stderr."""
    if not sys.stderr.isatty():
        yield lambda step: click.echo(step, err=True)
        return
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("starting") as status:

        def step(text: str) -> None:
            console.print(text, markup=False, highlight=False, soft_wrap=True)
            status.update(text.replace("[", "\\["))

        yield step
