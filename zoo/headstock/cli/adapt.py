"""`headstock adapt`: a head for unlabelled data that differs from the labelled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from headstock.cli.column_options import column_options, told_columns
from headstock.cli.output import format_option, table
from headstock.errors import InvalidInput
from headstock.names import Reference, check_name

_METHODS = ("coral", "mcc", "dann", "mmd", "importance")


@click.command("adapt")
@click.option("--backbone", metavar="NAME[:V]", required=True, help="Backbone that the head is grown on.")
@click.option("--head", metavar="TYPE", required=True, help="A classification head type; see 'headstock heads'.")
@click.option(
    "--data", metavar="FILE|FOLDER", type=click.Path(path_type=Path), required=True, help="Labelled source data."
)
@click.option(
    "--target", metavar="FILE|FOLDER", type=click.Path(path_type=Path), required=True, help="Unlabelled target data."
)
@click.option("--name", required=True, help="Name of the model; an existing one gets its next version.")
@click.option(
    "--methods", default="all", show_default=True, metavar="LIST|all", help=f"Comma-separated: {', '.join(_METHODS)}."
)
@click.option("--seeds", type=click.IntRange(1, 20), default=3, show_default=True, help="Runs of each method.")
@click.option("--epochs", type=click.IntRange(1), default=30, show_default=True, help="Passes over the source.")
@click.option("--validation", type=float, default=0.2, show_default=True, help="Share of source rows held out.")
@click.option("--tap", metavar="TAP", help="Output of the backbone to stand on.  [default: the head type's]")
@click.option("--data-licence", metavar="ID", default="", help="Licence of the source data: an SPDX id.")
@click.option("--target-licence", metavar="ID", default="", help="Licence of the target data: an SPDX id.")
@column_options
@format_option
def command(
    backbone: str,
    head: str,
    data: Path,
    target: Path,
    name: str,
    methods: str,
    seeds: int,
    epochs: int,
    validation: float,
    tap: str | None,
    data_licence: str,
    target_licence: str,
    format_: str,
    **asked: Any,
) -> None:
    """Adapt a head to unlabelled data.

    Trains every method on frozen features of --data and --target, chooses without target labels, and adds the next
    version of --name. The backbone stays shared.

    \b
    headstock adapt --backbone minilm --head text-classification --data old.csv --target new.csv --name tickets
    """
    check_name(name)
    wanted = _methods(methods)
    from headstock.adaptation.adapt import Licences, adapt
    from headstock.adaptation.trainer import Settings
    from headstock.catalogue import Catalogue
    from headstock.cli.fine_tune_progress import open_observer
    from headstock.finetune import Options, plan_recipe, read_table
    from headstock.plugin_host import open_host

    source, unlabelled = read_table(data), read_table(target)
    options = Options(
        columns=told_columns(asked),
        split_column=asked["split_column"],
        group_column=asked["group_column"],
        time_column=asked["time_column"],
        validation=validation,
        tap=tap,
    )
    with Catalogue.open() as catalogue:
        host = open_host()
        recipe = plan_recipe(catalogue, host, source, Reference.parse(backbone), head, options)
        made = adapt(
            catalogue,
            host,
            recipe,
            source,
            unlabelled,
            name,
            methods=wanted,
            seeds=range(seeds),
            settings=Settings(epochs=epochs),
            observer=open_observer(verbose=False, quiet=format_ != "table"),
            licences=Licences(data_licence, target_licence),
        )
    if format_ == "json":
        record = {"name": made.version.name, "number": made.version.number, **made.report}
        click.echo(json.dumps(record, indent=2, ensure_ascii=False))
    elif format_ == "quiet":
        click.echo(str(made.version))
    else:
        click.echo("\n".join([str(made.version), *_lines(made.report["adaptation"])]))


def _methods(text: str) -> tuple[str, ...]:
    if text == "all":
        return _METHODS
    names = tuple(part.strip() for part in text.split(","))
    for name in names:
        if name not in _METHODS:
            raise InvalidInput(f"--methods names {name!r}; expected some of {', '.join(_METHODS)}, or all")
    return names


def _lines(found: Mapping[str, Any]) -> list[str]:
    headers = ["METHOD", "SOURCE ACCURACY", "INFORMATION", "DENSITY", "RISK", "SEEDS (KAPPA)", "NOTE"]
    rows = [
        [
            score["method"],
            *(_spread(score[key]) for key in ("source_accuracy", "information", "density", "risk")),
            f"{score['agreement']:.2f}",
            " ".join([
                *(["chosen"] if score["method"] == found["chosen"] else []),
                *([] if score["stable"] else ["unstable"]),
            ]),
        ]
        for score in found["methods"]
    ]  # fmt: skip
    return [table(headers, rows), f"verdict: {found['verdict']}", *(f"  {reason}" for reason in found["reasons"])]


def _spread(values: list[float]) -> str:
    mean = sum(values) / len(values)
    return f"{mean:.3f} ±{(max(values) - min(values)) / 2:.3f}"
