"""`headstock predict`: ask a model, in this process or on a server."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from headstock.cli.output import emit, format_option
from headstock.errors import HeadstockError, InvalidInput
from headstock.names import Reference

_SHOWN = 60


@click.command("predict")
@click.argument("reference", metavar="NAME[:VERSION]")
@click.argument("texts", metavar="TEXT...", nargs=-1)
@click.option("--server", metavar="HOST:PORT", help="Ask this server instead of loading the model here.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of one pass.")
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds to wait for a server.")
@format_option
def command(
    reference: str,
    texts: tuple[str, ...],
    server: str | None,
    device: Any,
    threads: int,
    timeout: float,
    format_: str,
) -> None:
    """Ask model NAME about each TEXT; `-` reads one text a line from standard input.

    VERSION is a number or an alias; without it the alias production answers, else the newest version.
    """
    wanted = Reference.parse(reference)
    samples = _samples(texts)
    if server is None:
        records = _here(wanted, samples, device, threads)
    else:
        records = _there(server, wanted, samples, timeout)
    emit(
        format_,
        records,
        headers=("TEXT", "ANSWER", "SCORE"),
        row=_table_row,
        name=lambda record: record.get("label") or " ".join(f"{v:.6g}" for v in record["embedding"]),
    )


def _samples(texts: Sequence[str]) -> list[str]:
    if tuple(texts) == ("-",):
        texts = [line.rstrip("\n") for line in sys.stdin if line.strip()]
    if not texts:
        fix = 'headstock predict NAME "a text", or - for standard input'
        raise InvalidInput("there is no text to ask about", fix=fix)
    return list(texts)


def _here(reference: Reference, samples: list[str], device: Any, threads: int) -> list[dict[str, Any]]:
    from headstock.catalogue import Catalogue
    from headstock.predictor import Predictor

    with Catalogue.open(create=False) as catalogue:
        predictor = Predictor.open(catalogue, reference, device=device, threads=threads)
        answer = predictor.predict(samples)
    labels = next((spec.labels for spec in predictor.outputs if spec.labels), ())
    if labels:
        rows = answer.outputs["probabilities"].tolist()
        winners = [label.decode() for label in answer.outputs["label"]]
        found = [_labelled(w, dict(zip(labels, row, strict=True))) for w, row in zip(winners, rows, strict=True)]
    else:
        found = [{"embedding": row} for row in answer.outputs["embedding"].tolist()]
    return _records(samples, str(answer.version), found)


def _there(server: str, reference: Reference, samples: list[str], timeout: float) -> list[dict[str, Any]]:
    # The one place where the zoo knows the client, and only when it is asked to.
    from headstock_client import Client, ClientError

    try:
        with Client(server, deadline=timeout) as client:
            result = client.infer(reference.name, {"text": samples}, version=reference.selector)
            version = f"{result.model_name}:{result.model_version}"
            if "embedding" in result.outputs:
                found = [{"embedding": row} for row in result.outputs["embedding"].tolist()]
            else:
                answers = client.classifications(result)
                found = [_labelled(a.label, dict(a.probabilities)) for a in answers]
    except ClientError as error:
        raise HeadstockError(f"{server} answered {error}") from error
    return _records(samples, version, found)


def _labelled(label: str, probabilities: dict[str, float]) -> dict[str, Any]:
    return {"label": label, "score": probabilities[label], "probabilities": probabilities}


def _records(samples: Sequence[str], version: str, found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"text": text, "model": version, **record} for text, record in zip(samples, found, strict=True)]


def _table_row(record: Any) -> tuple[str, str, str]:
    text = record["text"] if len(record["text"]) <= _SHOWN else record["text"][: _SHOWN - 1] + "…"
    if "label" in record:
        return text, record["label"], f"{record['score']:.3f}"
    vector = record["embedding"]
    return text, f"[{', '.join(f'{v:.3f}' for v in vector[:3])}, …] ({len(vector)} values)", ""
