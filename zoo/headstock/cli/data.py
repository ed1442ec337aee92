"""`headstock data`: look at data before it trains anything."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headstock.cli.column_options import column_options, told_columns
from headstock.cli.output import format_option, visible
from headstock.names import Reference

if TYPE_CHECKING:
    from headstock.data.checking import Question, Report
    from headstock.data.table import Table
    from headstock.preprocess import Preprocessor

_WORDS = {"stops": "STOPS", "falsifies": "FALSE", "note": "note"}
_SHOWN = 12


@click.group("data")
def command() -> None:
    """Look at data before it trains anything."""


@command.command("check")
@click.argument("data", metavar="FILE|FOLDER", type=click.Path(path_type=Path))
@click.option("--head", metavar="TYPE", required=True, help="Head type that it should train; see 'headstock heads'.")
@click.option("--backbone", metavar="NAME[:V]", help="Also read every row as this backbone would.")
@column_options
@click.option("--validation", type=float, default=0.2, show_default=True, help="Share of rows that validate.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the split.")
@format_option
@click.pass_context
def check(
    context: click.Context,
    /,
    data: Path,
    head: str,
    backbone: str | None,
    validation: float,
    seed: int,
    format_: str,
    **asked: Any,
) -> None:
    """Report counts, copies, unreadable rows and leaks of FILE|FOLDER.

    The split is the one that `headstock fine-tune` would make with the same options. Together with --split-column,
    --group-column and --time-column are looked at for leaks. Ends with 1 if something would stop a fine-tune (STOPS) or
    make its figures wrong (FALSE).
    """
    from headstock.data.checking import check_data
    from headstock.data.read import read_table

    table = read_table(data, tolerant=True)
    report = check_data(table, _question(table, head, backbone, validation, seed, asked))
    if format_ == "json":
        click.echo(json.dumps(report.to_json(), indent=2, ensure_ascii=False))
    elif format_ == "quiet":
        click.echo(report.verdict)
    else:
        click.echo("\n".join(visible(line) for line in _lines(report)))
    context.exit(0 if report.verdict == "ok" else 1)


def _question(
    table: Table, head: str, backbone: str | None, validation: float, seed: int, asked: Mapping[str, Any]
) -> Question:
    from headstock.data.checking import Question
    from headstock.data.columns import choose_columns
    from headstock.data.roles import roles_of
    from headstock.finetune.plan import Options, choose_split, split_columns
    from headstock.plugin_host import open_host

    head_type = open_host().head_type(head)
    options = Options(
        split_column=asked["split_column"] or table.split_column,
        group_column=asked["group_column"],
        time_column=asked["time_column"],
        validation=validation,
        seed=seed,
    )
    for option, column in (said := split_columns(options)).items():
        table.column(column, option)
    # A fine-tune takes one of them; here the first decides and the others are looked at.
    decides = options
    if options.split_column is not None:
        decides = replace(options, group_column=None, time_column=None)
    elif options.group_column is not None:
        decides = replace(options, time_column=None)
    return Question(
        head_type=head_type,
        columns=choose_columns(table, roles_of(head_type), told_columns(asked), list(said.values())),
        choice=choose_split(table, head_type, decides),
        group_column=options.group_column,
        time_column=options.time_column,
        backbone=None if backbone is None else _preprocessor(backbone, head_type),
        unused=list(said.values()),
    )


def _preprocessor(reference: str, head_type: Any) -> Preprocessor:
    from headstock.catalogue import Catalogue
    from headstock.data.roles import require_modality
    from headstock.servable import load_backbone

    with Catalogue.open(create=False) as catalogue:
        version = catalogue.version(Reference.parse(reference))
        backbone = load_backbone(catalogue, version.subject)
    require_modality(head_type, backbone.spec.kind, version.name)
    return backbone.open_preprocessor()


def _lines(report: Report) -> Iterator[str]:
    yield f"{report.data} for {report.head}: {_verdict(report)}"
    yield "  columns    " + ", ".join(f"{role} from {column!r}" for role, column in report.columns.items())
    duplicates = f", {report.duplicates} of them copies of others" if report.duplicates else ""
    yield f"  rows       {report.rows}, {report.usable} usable{duplicates}"
    for name, spread in {**report.inputs, **report.targets}.items():
        figures = ", ".join(f"{key} {value:g}" for key, value in spread.items())
        yield f"  {name}: {figures}"
    if report.kinds:
        yield "  formats    " + ", ".join(f"{kind} ({count})" for kind, count in report.kinds.items())
    if report.classes:
        imbalance = f", the commonest {report.imbalance:g} times the rarest" if report.imbalance else ""
        yield f"  classes    {len(report.classes)}{imbalance}"
        yield from (f"    {count:>6}  {name}" for name, count in list(report.classes.items())[:_SHOWN])
        if len(report.classes) > _SHOWN:
            yield f"            and {len(report.classes) - _SHOWN} more"
    if report.split:
        yield "  split      " + ", ".join(f"{count} {side}" for side, count in report.split.items() if count)
    for finding in sorted(report.findings, key=lambda f: list(_WORDS).index(f.severity)):
        yield f"{_WORDS[finding.severity]}  {finding.message}"
        if finding.fix and finding.severity != "note":
            yield f"       try: {finding.fix}"


def _verdict(report: Report) -> str:
    return {
        "ok": "ready to train",
        "stops": "a fine-tune would stop",
        "falsifies": "a fine-tune would run, and its figures would be wrong",
    }[report.verdict]
