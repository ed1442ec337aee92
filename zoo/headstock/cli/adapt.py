"""`headstock adapt`: a head for unlabelled data that differs from the labelled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headstock.cli.column_options import column_options, told_columns
from headstock.cli.option_values import given, positive
from headstock.cli.output import format_option, table
from headstock.errors import InvalidInput
from headstock.names import Reference, check_name

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.finetune import Recipe, Table
    from headstock.plugin_host import PluginHost

_METHODS = ("coral", "mcc", "dann", "mmd", "importance")


@click.command("adapt")
@click.option("--backbone", metavar="NAME[:V]", help="Backbone that the head is grown on.")
@click.option("--head", metavar="TYPE", help="A classification head type; see 'headstock heads'.")
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
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the split and the first run.")
@click.option("--epochs", type=click.IntRange(1), default=30, show_default=True, help="Passes over the source.")
@click.option("--lr", type=float, default=1e-3, show_default=True, help="Learning rate of Adam.")
@click.option("--batch-size", type=click.IntRange(2), default=64, show_default=True, help="Rows of each domain a step.")
@click.option("--validation", type=float, default=0.2, show_default=True, help="Share of source rows held out.")
@click.option("--tap", metavar="TAP", help="Output of the backbone to stand on.  [default: the head type's]")
@click.option(
    "--recipe", metavar="FILE|NAME[:V]", help="Repeat a recipe; decides everything but both data sets and the name."
)
@click.option("--data-licence", metavar="ID", default="", help="Licence of the source data: an SPDX id.")
@click.option("--target-licence", metavar="ID", default="", help="Licence of the target data: an SPDX id.")
@click.option("--verbose", is_flag=True, help="One line per epoch instead of a bar.")
@column_options
@format_option
@click.pass_context
def command(
    context: click.Context,
    /,
    data: Path,
    target: Path,
    name: str,
    recipe: str | None,
    data_licence: str,
    target_licence: str,
    verbose: bool,
    format_: str,
    **asked: Any,
) -> None:
    """Adapt a head to unlabelled data.

    Trains every method on frozen features of --data and --target, chooses without target labels, and adds the next
    version of --name. The backbone stays shared. Run it again to continue an interrupted run.

    \b
    headstock adapt --backbone minilm --head text-classification --data old.csv --target new.csv --name tickets
    """
    check_name(name)
    _check(context, asked, recipe)
    from headstock.adaptation.adapt import Licences, adapt
    from headstock.catalogue import Catalogue
    from headstock.cli.fine_tune_progress import open_observer
    from headstock.finetune import read_table
    from headstock.finetune.kept_recipe import read_recipe
    from headstock.plugin_host import open_host

    source, unlabelled = read_table(data), read_table(target)
    with Catalogue.open() as catalogue:
        host = open_host()
        chosen = read_recipe(catalogue, recipe) if recipe else _plan(catalogue, host, source, unlabelled, asked)
        made = adapt(
            catalogue,
            host,
            chosen,
            source,
            unlabelled,
            name,
            observer=open_observer(verbose=verbose, quiet=format_ != "table"),
            licences=Licences(data_licence, target_licence),
        )
    if format_ == "json":
        record = {"name": made.version.name, "number": made.version.number, **made.report}
        click.echo(json.dumps(record, indent=2, ensure_ascii=False))
    elif format_ == "quiet":
        click.echo(str(made.version))
    else:
        click.echo("\n".join([str(made.version), *_lines(made.report["adaptation"])]))


def _check(context: click.Context, asked: Mapping[str, Any], recipe: str | None) -> None:
    """Raise `InvalidInput` for what is missing, contradicts the recipe or is no number that a rate can be."""
    if recipe is not None and (said := given(context, list(asked))):
        raise InvalidInput(f"{said[0]} is decided by the recipe {recipe!r}", fix=f"leave {said[0]} out")
    for option in ("backbone", "head"):
        if recipe is None and asked[option] is None:
            raise InvalidInput(f"--{option} is missing", fix=f"headstock {'list' if option == 'backbone' else 'heads'}")
    positive("--lr", asked["lr"], instead=1e-3)
    _methods(asked["methods"])


def _plan(catalogue: Catalogue, host: PluginHost, source: Table, target: Table, asked: Mapping[str, Any]) -> Recipe:
    from headstock.adaptation.plan import plan_adaptation
    from headstock.adaptation.settings import settings
    from headstock.finetune import Options

    options = Options(
        columns=told_columns(asked),
        split_column=asked["split_column"],
        group_column=asked["group_column"],
        time_column=asked["time_column"],
        validation=asked["validation"],
        tap=asked["tap"],
        seed=asked["seed"],
    )
    course = settings(epochs=asked["epochs"], learning_rate=asked["lr"], batch_size=asked["batch_size"])
    return plan_adaptation(
        catalogue, host, source, target, Reference.parse(asked["backbone"]), asked["head"], options,
        methods=_methods(asked["methods"]), runs=asked["seeds"], settings=course,
    )  # fmt: skip


def _methods(text: str) -> tuple[str, ...]:
    if text == "all":
        return _METHODS
    names = tuple(part.strip() for part in text.split(","))
    for name in names:
        if name not in _METHODS:
            raise InvalidInput(
                f"--methods names {name!r}; expected some of {', '.join(_METHODS)}, or all", fix="--methods all"
            )
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
    seeds = len(found["methods"][0]["risk"])
    spread = "± is half the range over them" if seeds > 1 else "there is no range over one; --seeds N gives it"
    note = f"one split of the source, {seeds} {'seeds' if seeds > 1 else 'seed'}: {spread}"
    reasons = (f"  {reason}" for reason in found["reasons"])
    return [table(headers, rows), note, f"verdict: {found['verdict']}", *reasons]


def _spread(values: list[float]) -> str:
    mean = sum(values) / len(values)
    return f"{mean:.3f} ±{(max(values) - min(values)) / 2:.3f}"
