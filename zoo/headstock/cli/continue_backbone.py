"""`headstock continue`: a backbone goes on learning from rows without labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headstock.cli.option_values import pair, positive
from headstock.cli.output import emit_version, format_option
from headstock.cli.recipe_source import repeat_options, repeated, save_recipe
from headstock.errors import InvalidInput
from headstock.names import Reference, check_name

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.finetune import Recipe, Table
    from headstock.objectives import Continued, Pursuit
    from headstock.plugin_host import PluginHost

_DECIDED = (
    "objective", "backbone", "text_column", "image_column", "option", "strategy", "epochs", "head_epochs",
    "batch_size", "lr", "backbone_lr", "schedule", "weight_decay", "patience", "validation", "seed",
)  # fmt: skip


@click.command("continue")
@click.option("--backbone", metavar="NAME[:V]", help="Backbone that goes on learning; it stays as it is.")
@click.option(
    "--data",
    metavar="FILE|FOLDER",
    type=click.Path(path_type=Path),
    required=True,
    help="Rows without labels: text (a line each), CSV, JSONL, Parquet, or a folder of images.",
)
@click.option("--name", required=True, help="Name of the new backbone; an existing one gets its next version.")
@click.option(
    "--objective",
    metavar="NAME",
    help="What is learned: mlm (texts), simclr (images), columns (tables).  [default: by what the backbone reads]",
)
@click.option("--option", "option", metavar="KEY=VALUE", multiple=True, help="Option of the objective; repeatable.")
@click.option("--text-column", metavar="COLUMN", help="Column with the text.  [default: guessed]")
@click.option("--image-column", metavar="COLUMN", help="Column with the images' paths.  [default: guessed]")
@click.option(
    "--strategy",
    metavar="NAME",
    default="lp-ft",
    show_default=True,
    help="What learns: lp-ft (the head first, then all), full, last-N, gradual, l2-sp, wise-ft, scratch.",
)
@click.option("--epochs", type=click.IntRange(1), default=3, show_default=True, help="Most epochs of the backbone.")
@click.option(
    "--head-epochs", type=click.IntRange(1), default=1, show_default=True, help="Most epochs of the head alone."
)
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Rows per step.")
@click.option("--lr", type=float, default=1e-3, show_default=True, help="Learning rate of the head.")
@click.option(
    "--backbone-lr", type=float, default=5e-5, show_default=True, help="Learning rate of the last live layers."
)
@click.option(
    "--schedule",
    type=click.Choice(["cosine", "constant", "slanted"]),
    default="slanted",
    show_default=True,
    help="How the learning rate moves.",
)
@click.option("--weight-decay", type=float, default=1e-2, show_default=True, help="AdamW's weight decay.")
@click.option(
    "--patience",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Epochs without a smaller held-out loss before stopping; 0 never stops early.",
)
@click.option("--validation", type=float, default=0.1, show_default=True, help="Share of rows that are held out.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of split, views, weights, order.")
@click.option(
    "--probe",
    metavar="FILE|FOLDER",
    type=click.Path(path_type=Path),
    help="Labelled data: also compare a linear probe on the backbone before and after.",
)
@click.option("--probe-label", metavar="COLUMN", help="Label column of --probe.  [default: guessed]")
@click.option(
    "--control/--no-control",
    default=True,
    show_default=True,
    help="Also train the head alone for as long, to tell what the backbone itself gained.",
)
@repeat_options
@click.option("--data-licence", metavar="ID", help="Licence of the data, as you state it: an SPDX id.")
@click.option("--verbose", is_flag=True, help="One line per epoch instead of a bar.")
@format_option
@click.pass_context
def command(
    context: click.Context,
    /,
    data: Path,
    name: str,
    probe: Path | None,
    probe_label: str | None,
    control: bool,
    recipe: str | None,
    new_data: bool,
    save_to: Path | None,
    data_licence: str | None,
    verbose: bool,
    format_: str,
    **asked: Any,
) -> None:
    """Let a backbone learn from unlabelled data.

    Continued pretraining: the backbone learns an objective on --data and enters the catalogue as a new one, checked
    and certified like any other; heads are grown on it as usual. The one that it began with stays as it is.
    Interrupted runs continue when the same command is run again.

    \b
    headstock continue --backbone minilm --data corpus.txt --name minilm-mine
    headstock continue --backbone minilm --data corpus.txt --name minilm-mine --probe tickets.csv
    headstock continue --backbone resnet --data photos/ --name resnet-mine --option flip=0
    """
    check_name(name)
    from headstock.catalogue import Catalogue
    from headstock.cli.fine_tune_progress import open_observer, resumable
    from headstock.finetune import read_table
    from headstock.objectives import continue_backbone
    from headstock.plugin_host import open_host

    table = read_table(data)
    labelled = None if probe is None else read_table(probe)
    with Catalogue.open(create=False) as catalogue:
        host = open_host()
        if recipe is None:
            chosen = _plan(catalogue, host, table, asked, new_data)
        else:
            chosen = repeated(context, catalogue, recipe, table, _DECIDED, new_data=new_data)
        if save_to is not None:
            save_recipe(chosen, save_to)
        observer = open_observer(verbose=verbose, quiet=format_ != "table")
        with resumable(observer):
            made = continue_backbone(
                catalogue, host, chosen, table, name,
                observer=observer, data_licence=data_licence or "", probe=labelled,
                probe_columns={} if probe_label is None else {"label": probe_label}, control=control,
            )  # fmt: skip
    emit_version(format_, made.version, {"fresh": made.fresh, **made.report}, lambda: _lines(made))


def _plan(catalogue: Catalogue, host: PluginHost, table: Table, asked: Mapping[str, Any], new_data: bool) -> Recipe:
    from headstock.objectives import plan_objective

    if new_data:
        raise InvalidInput("--new-data needs --recipe", fix="--recipe FILE")
    if asked["backbone"] is None:
        raise InvalidInput("--backbone is missing", fix="--backbone NAME; headstock list --kind backbone")
    return plan_objective(catalogue, host, table, Reference.parse(asked["backbone"]), _pursuit(asked))


def _pursuit(asked: Mapping[str, Any]) -> Pursuit:
    from headstock.objectives import Pursuit

    roles = {role: asked[f"{role}_column"] for role in ("text", "image")}
    return Pursuit(
        columns={role: column for role, column in roles.items() if column is not None},
        objective=asked["objective"],
        options=dict(pair("--option", text) for text in asked["option"]),
        strategy=asked["strategy"],
        epochs=asked["epochs"],
        head_epochs=asked["head_epochs"],
        batch_size=asked["batch_size"],
        learning_rate=positive("--lr", asked["lr"], instead=1e-3),
        backbone_rate=positive("--backbone-lr", asked["backbone_lr"], instead=5e-5),
        schedule=asked["schedule"],
        weight_decay=positive("--weight-decay", asked["weight_decay"], instead=1e-2, zero=True),
        patience=asked["patience"],
        validation=asked["validation"],
        seed=asked["seed"],
    )


def _lines(made: Continued) -> list[str]:
    report, version = made.report, made.version
    held_out, data, epochs = report["held_out"], report["data"], report["epochs"]
    lines = [
        f"{version}" + ("" if made.fresh else " (the newest version was this very backbone already)"),
        f"  backbone   {version.subject}",
    ]
    for name in held_out["before"]:
        first, second = held_out["before"][name], held_out["after"][name]
        third = held_out.get("head_alone", {}).get(name)
        alone = "" if third is None else f", {third['value']:.3f} with the head alone"
        lines.append(f"  {name:<16} {first['value']:.3f} before{alone}, {second['value']:.3f} after (held out)")
    if (gain := held_out.get("gain")) is not None:
        lines.append(
            f"  gained           {gain['value']:.3f} [{gain['low']:.3f}, {gain['high']:.3f}] of loss by the backbone"
        )
    if (probe := report["probe"]) is not None:
        for kind, words in (("linear", "linear probe"), ("neighbours", "neighbours")):
            found = probe[kind]
            gain = found["gain"]
            lines.append(
                f"  {words:<16} {found['before']['value']:.3f} before, {found['after']['value']:.3f} after on "
                f"{probe['data']}; gain {gain['value']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]"
            )
        if probe["linear"]["verdict"] == "negative":
            lines.append(
                "  verdict          negative: it hurt; neither it nor what stands on it is promoted unless forced"
            )
    lines.append(
        f"  trained    {data['train']} rows of {data['name']} in {data['pieces']} pieces with those held out, "
        f"{epochs['run']} epochs, best {epochs['best']}, {report['seconds']['total']:.1f} s"
    )
    return [*lines, "next:", f"  headstock fine-tune --backbone {version} --head TYPE --data FILE --name NAME"]
