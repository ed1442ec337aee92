"""`headstock predict`: ask a model, in this process or on a server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from headstock.cli import predict_records as records
from headstock.cli.output import emit, format_option
from headstock.cli.predict_samples import FILES, Sample, chunks, typed
from headstock.errors import HeadstockError, InvalidInput
from headstock.names import Reference

if TYPE_CHECKING:
    from headstock.predictor import Prediction, Predictor
    from headstock_client import ClientError


@click.command("predict")
@click.argument("reference", metavar="NAME[:VERSION]")
@click.argument("samples", metavar="INPUT...", nargs=-1)
@click.option("--server", metavar="HOST:PORT", help="Ask this server instead of loading the model here.")
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where the model runs, without --server.",
)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of one pass.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds to wait for a server.",
)
@format_option
def command(
    reference: str,
    samples: tuple[str, ...],
    server: str | None,
    device: Any,
    threads: int,
    timeout: float,
    format_: str,
) -> None:
    """Ask model NAME about each INPUT; `-` reads one INPUT a line from standard input.

    INPUT is what the model reads: a text; an image or audio FILE; a row of a table as JSON, '{"age": 34}'; or a
    question with the text that answers it, '{"question": "...", "context": "..."}'.

    VERSION is a number or an alias; without it the alias production answers, else the newest version.
    """
    wanted, asked = Reference.parse(reference), typed(samples)
    answers = _here(wanted, asked, device, threads) if server is None else _there(server, wanted, asked, timeout)
    found = list(answers)
    header = next(iter(found[0]))
    emit(
        format_,
        found,
        headers=(header.upper(), "ANSWER", "SCORE"),
        row=lambda r: (records.shortened(r[header], path=header in FILES), records.answer(r), records.score(r)),
        name=records.bare,
    )


def _here(reference: Reference, asked: Sequence[str], device: Any, threads: int) -> Iterator[dict[str, Any]]:
    from headstock.catalogue import Catalogue
    from headstock.predictor import Predictor

    with Catalogue.open(create=False) as catalogue:
        predictor = Predictor.open(catalogue, reference, device=device, threads=threads)
    inputs = [spec.name for spec in predictor.inputs]
    labels = next((spec.labels for spec in predictor.outputs if spec.labels), ())
    for names, samples in chunks(asked, inputs):
        answer = _predict(predictor, names, samples)
        yield from _records(names, inputs, str(answer.version), records.records_of(answer.outputs, labels))


def _predict(predictor: Predictor, names: Sequence[str], samples: Sequence[Sample]) -> Prediction:
    try:
        return predictor.predict(*zip(*samples, strict=True))
    except InvalidInput:
        # The preprocessing counts within one piece; a person knows the sample by what was typed.
        for name, sample in zip(names, samples, strict=True):
            try:
                predictor.predict(*((value,) for value in sample))
            except InvalidInput as error:
                shown = records.shortened(name, path=predictor.inputs[0].name in FILES)
                raise InvalidInput(f"{shown!r}: {error.message}", fix=error.fix) from error
        raise


def _there(server: str, reference: Reference, asked: Sequence[str], timeout: float) -> Iterator[dict[str, Any]]:
    # The one place where the zoo knows the client, and only when it is asked to.
    from headstock_client import Client, ClientError

    try:
        with Client(server, deadline=timeout) as client:
            inputs = client.raw_inputs(reference.name, reference.selector)
            for names, samples in chunks(asked, inputs):
                items = [sample[0] if len(inputs) == 1 else sample for sample in samples]
                result = client.predict(reference.name, items, version=reference.selector)
                labels = client.labels(result.model_name, result.model_version)
                version = f"{result.model_name}:{result.model_version}"
                yield from _records(names, inputs, version, records.records_of(result.outputs, labels))
    except ClientError as error:
        raise HeadstockError(f"{server}: {error}", fix=_remedy(error)) from error


def _remedy(error: ClientError) -> str:
    from headstock_client import Unavailable

    if isinstance(error, Unavailable):
        return "headstock serve, and --server with the address that it prints"
    return "headstock predict without --server tells whether the model or the server is at fault"


def _records(
    names: Sequence[str], inputs: Sequence[str], version: str, found: Sequence[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    # The typed input leads, under the name that the wire has for it; an output of that name keeps its own.
    key = inputs[0] if len(inputs) == 1 else "input"
    for name, record in zip(names, found, strict=True):
        yield {key: name, "model": version, **record}
