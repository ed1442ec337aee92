"""`headstock continue`: a backbone goes on learning from rows without labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from headstock.cli.output import format_option
from headstock.errors import InvalidInput
from headstock.names import Reference, check_name

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.finetune import Recipe, Table
    from headstock.objectives import Continued, Pursuit

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
@click.option("--recipe", metavar="FILE|NAME[:V]", help="Repeat a recipe; decides everything but data and name.")
@click.option("--new-data", is_flag=True, help="With --recipe: the data may be another file than the recipe's.")
@click.option("--save-recipe", type=click.Path(path_type=Path), help="Also write the recipe as TOML.")
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
    save_recipe: Path | None,
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
    from headstock.cli.fine_tune_progress import open_observer
    from headstock.finetune import read_table
    from headstock.objectives import continue_backbone
    from headstock.plugin_host import open_host

    table = read_table(data)
    labelled = None if probe is None else read_table(probe)
    with Catalogue.open() as catalogue:
        host = open_host()
        if recipe is None:
            chosen = _plan(catalogue, table, asked, new_data)
        else:
            chosen = _repeat(context, catalogue, recipe, table, new_data)
        if save_recipe is not None:
            _save(chosen, save_recipe)
        observer = open_observer(verbose=verbose, quiet=format_ != "table")
        try:
            made = continue_backbone(
                catalogue, host, chosen, table, name,
                observer=observer, data_licence=data_licence or "", probe=labelled,
                probe_columns={} if probe_label is None else {"label": probe_label}, control=control,
            )  # fmt: skip
        except KeyboardInterrupt:
            observer.say("interrupted; run the same command again to go on from the last epoch")
            raise
    _print(made, format_)


def _plan(catalogue: Catalogue, table: Table, asked: Mapping[str, Any], new_data: bool) -> Recipe:
    from headstock.objectives import plan_objective
    from headstock.plugin_host import open_host

    if new_data:
        raise InvalidInput("--new-data needs --recipe", fix="--recipe FILE")
    if asked["backbone"] is None:
        raise InvalidInput("--backbone is missing", fix="--backbone NAME; headstock list --kind backbone")
    return plan_objective(catalogue, open_host(), table, Reference.parse(asked["backbone"]), _pursuit(asked))


def _pursuit(asked: Mapping[str, Any]) -> Pursuit:
    from headstock.objectives import Pursuit

    for option, key in (("--lr", "lr"), ("--backbone-lr", "backbone_lr")):
        if not 0 < asked[key] < float("inf"):
            raise InvalidInput(f"{option} {asked[key]} is not usable; expected a number above 0")
    roles = {role: asked[f"{role}_column"] for role in ("text", "image")}
    return Pursuit(
        columns={role: column for role, column in roles.items() if column is not None},
        objective=asked["objective"],
        options=dict(_pair(text) for text in asked["option"]),
        strategy=asked["strategy"],
        epochs=asked["epochs"],
        head_epochs=asked["head_epochs"],
        batch_size=asked["batch_size"],
        learning_rate=asked["lr"],
        backbone_rate=asked["backbone_lr"],
        schedule=asked["schedule"],
        weight_decay=asked["weight_decay"],
        patience=asked["patience"],
        validation=asked["validation"],
        seed=asked["seed"],
    )


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InvalidInput(f"--option {text!r} has no value", fix=f"--option {text}=VALUE")
    return key.strip(), value.strip()


def _repeat(context: click.Context, catalogue: Catalogue, source: str, table: Table, new_data: bool) -> Recipe:
    from headstock.data.dataset import data_digest
    from headstock.finetune.kept_recipe import read_recipe

    said = [p for p in _DECIDED if context.get_parameter_source(p) is ParameterSource.COMMANDLINE]
    if said:
        option = "--" + said[0].replace("_", "-")
        raise InvalidInput(
            f"{option} is decided by the recipe {source!r}", fix=f"edit the recipe, or leave {option} out"
        )
    recipe = read_recipe(catalogue, source)
    return recipe.with_data(table.name, data_digest(table, recipe.data.columns)) if new_data else recipe


def _save(recipe: Recipe, path: Path) -> None:
    try:
        path.write_text(recipe.to_toml(), encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"cannot write the recipe to {path.name!r}: {error.strerror}") from error


def _print(made: Continued, format_: str) -> None:
    if format_ == "json":
        record = {"name": made.version.name, "number": made.version.number, "fresh": made.fresh, **made.report}
        click.echo(json.dumps(record, indent=2, ensure_ascii=False))
    elif format_ == "quiet":
        click.echo(str(made.version))
    else:
        click.echo("\n".join(_lines(made)))


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
    lines.append(
        f"  trained    {data['train']} rows of {data['name']} in {data['pieces']} pieces with those held out, "
        f"{epochs['run']} epochs, best {epochs['best']}, {report['seconds']['total']:.1f} s"
    )
    return [*lines, "next:", f"  headstock fine-tune --backbone {version} --head TYPE --data FILE --name NAME"]
