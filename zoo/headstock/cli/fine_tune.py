"""`headstock fine-tune`: grow a model on a backbone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from headstock.cli.column_options import told_columns
from headstock.cli.continued_lines import continued_lines
from headstock.cli.output import emit_version, format_option
from headstock.cli.recipe_options import DECIDED, options_of, plan, recipe_options, said_of
from headstock.cli.recipe_source import repeat_options, repeated, save_recipe
from headstock.digest import Digest
from headstock.errors import InvalidInput
from headstock.names import Reference, check_alias, check_name

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.finetune import Outcome, Recipe, Table
    from headstock.plugin_host import PluginHost

# What to type after `headstock predict NAME`, by raw input.
_EXAMPLES = {"text": '"..."', "image": "FILE", "audio": "FILE", "row": "'{...}'", "question": "'{...}'"}


@click.command("fine-tune")
@click.option(
    "--data",
    metavar="FILE|FOLDER",
    type=click.Path(path_type=Path),
    required=True,
    help="Table (CSV, TSV, JSONL, Parquet, CoNLL) or folder.",
)
@click.option("--name", help="Name of the model; an existing one gets its next version.  [default: that of --from]")
@click.option("--from", "from_", metavar="NAME[:V]", help="Go on from this model: its weights, classes and recipe.")
@click.option("--replay", metavar="SHARE|ROWS", help="Train on so much of the parent's data too: 0.2, or 200.")
@click.option(
    "--replay-data",
    metavar="FILE|FOLDER",
    type=click.Path(path_type=Path),
    help="What the parent was trained on; also shows what is forgotten.",
)
@recipe_options
@repeat_options
@click.option("--data-licence", metavar="ID", help="Licence of the data, as you state it: an SPDX id.")
@click.option(
    "--report",
    type=click.Choice(["quick", "full", "none"]),
    default="quick",
    show_default=True,
    help="What to compare the model with: full adds a learning curve, none gives no verdict.",
)
@click.option(
    "--splits",
    type=click.IntRange(0, 50),
    default=0,
    show_default=True,
    help="Other splits and seeds to score cheap models on; tells how far the figures depend on them.",
)
@click.option("--group-by", metavar="COLUMN", help="Also report rates and gaps for every value of this column.")
@click.option("--promote", metavar="ALIAS", help="Point this alias at the new version.")
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Backbone batches at a time; changes no result.",
)
@click.option("--verbose", is_flag=True, help="One line per epoch instead of a bar.")
@format_option
@click.pass_context
def command(
    context: click.Context,
    /,
    data: Path,
    name: str | None,
    from_: str | None,
    replay: str | None,
    replay_data: Path | None,
    recipe: str | None,
    new_data: bool,
    save_to: Path | None,
    data_licence: str | None,
    report: Literal["quick", "full", "none"],
    splits: int,
    group_by: str | None,
    promote: str | None,
    threads: int,
    verbose: bool,
    format_: str,
    **asked: Any,
) -> None:
    """Grow a model on a backbone.

    Trains a head on frozen features of --data and adds the next version of --name to the catalogue. Interrupted runs
    continue when the same command is run again.

    A folder of images or recordings has one subfolder per class. Tables name files in a column, by paths relative to
    the table. 'headstock data check' looks at the data without training.

    \b
    headstock fine-tune --backbone minilm --head text-classification --data tickets.csv --name tickets
    headstock fine-tune --backbone resnet --head image-classification --data photos/ --name breeds
    headstock fine-tune --recipe tickets:1 --data tickets.csv --name tickets-again
    headstock fine-tune --from tickets --data june.csv --replay 0.2 --replay-data tickets.csv
    """
    name = _name(name, from_, recipe, replay, new_data=new_data)
    if promote is not None:
        check_alias(promote)
    # The data is read and judged before anything heavy is imported: a typo costs no wait.
    from headstock.catalogue import Catalogue
    from headstock.cli.fine_tune_progress import open_observer, resumable
    from headstock.cli.processes import others_lead
    from headstock.finetune import fine_tune, read_table
    from headstock.licences import enforcement
    from headstock.plugin_host import open_host
    from headstock.report import Assessment, check_backbone, check_promotion

    table = read_table(data)
    past = None if replay_data is None else read_table(replay_data)
    with Catalogue.open(create=False) as catalogue:
        host = open_host()
        if recipe is not None:
            chosen = repeated(context, catalogue, recipe, table, DECIDED, new_data=new_data)
        elif from_ is not None:
            chosen = _continue(context, catalogue, host, table, from_, replay, past, asked)
        else:
            chosen = plan(catalogue, host, table, asked)
        if promote is not None and chosen.strategy.initial == "pretrained":
            check_backbone(catalogue, Digest(chosen.backbone.digest), chosen.backbone.name)
        if others_lead(catalogue, host, chosen, table, name, past):
            return
        if save_to is not None:
            save_recipe(chosen, save_to)
        observer = open_observer(verbose=verbose, quiet=format_ != "table")
        if recipe is None:
            _tell_guesses(observer.say, chosen, asked)
        with resumable(observer):
            outcome = fine_tune(
                catalogue, host, chosen, table, name,
                observer=observer, threads=threads, data_licence=data_licence or "",
                assessment=Assessment(report, group_by, splits=splits), replay=past,
            )  # fmt: skip
        if promote is not None:
            check_promotion(catalogue, outcome.version)
            # What there is to warn of was said before the training.
            enforcement.promote(catalogue, outcome.version, promote, reason="fine-tune --promote")
    record = {"head": outcome.head, "fresh": outcome.fresh, **outcome.report}
    emit_version(format_, outcome.version, record, lambda: _lines(outcome, promote))


def _name(name: str | None, parent: str | None, recipe: str | None, replay: str | None, *, new_data: bool) -> str:
    """The model's name. Raises `InvalidInput` without any, and for options that contradict each other."""
    if parent is not None and recipe is not None:
        raise InvalidInput("--from and --recipe each say what to train", fix="one of them")
    if parent is None and replay is not None:
        raise InvalidInput("--replay needs --from: without a parent there is nothing to see again", fix="--from NAME")
    if new_data and recipe is None:
        raise InvalidInput("--new-data needs --recipe", fix="--recipe FILE")
    if name is None and parent is None:
        raise InvalidInput("--name is missing", fix="--name NAME")
    return check_name(name or Reference.parse(parent or "").name)


def _continue(
    context: click.Context,
    catalogue: Catalogue,
    host: PluginHost,
    table: Table,
    parent: str,
    replay: str | None,
    past: Table | None,
    asked: Mapping[str, Any],
) -> Recipe:
    from headstock.finetune.continued import plan_continued

    return plan_continued(
        catalogue, host, table, Reference.parse(parent), options_of(asked), said_of(context),
        head=asked["head"], backbone=asked["backbone"], replay=replay, replay_data=past,
    )  # fmt: skip


def _tell_guesses(say: Any, recipe: Recipe, asked: Mapping[str, Any]) -> None:
    told = told_columns(asked)
    guessed = {r: c for r, c in recipe.data.columns.items() if r not in told}
    if guessed:
        say("columns: " + ", ".join(f"{role} from {column!r}" for role, column in guessed.items()))


def _transfer_lines(transfer: Mapping[str, Any]) -> list[str]:
    """The verdict, and what its interval is of: one over rows is soon taken for one over splits."""
    interval, others = transfer["interval"], transfer.get("over_splits")
    lines = [
        f"  transfer   {transfer['verdict']}: {transfer['gain']:+.3f} [{transfer['low']:+.3f}, "
        f"{transfer['high']:+.3f}] against {transfer['against']}",
        f"             the interval is {interval['width']:.3f} wide, over the {interval['rows']} validation rows of "
        f"one split and one seed{'; --splits N tries others' if 'over_splits' in transfer and not others else ''}",
    ]
    if others and (gain := others.get("gain")) and gain["low"] is not None:
        lines.append(
            f"  splits     {gain['value']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}] over {others['splits']} "
            "other splits and seeds"
        )
    return lines


def _lines(outcome: Outcome, promote: str | None) -> list[str]:
    report, version = outcome.report, outcome.version
    data, epochs = report["data"], report["epochs"]
    lines = [
        f"{version}" + ("" if outcome.fresh else " (the newest version was this very model already)"),
        f"  head       {outcome.head}",
    ]
    lines += [
        f"  {m['name']:<10} {m['value']:.3f} [{m['low']:.3f}, {m['high']:.3f}]  ({m['method']}, n={data['validation']})"
        for m in report["metrics"]
    ]
    if report["majority"]:
        lines.append(
            f"  majority   {report['majority']['accuracy']:.3f}  (always answering {report['majority']['label']!r})"
        )
    if (transfer := report.get("transfer")) is not None:
        lines += _transfer_lines(transfer)
    lines += continued_lines(report)
    lines.append(
        f"  trained    {data['train']} rows of {data['name']}, {epochs['run']} epochs, best {epochs['best']}, "
        f"{report['seconds']['total']:.1f} s"
    )
    if data["truncated"]:
        lines.append(f"  cut        {data['truncated']} samples are longer than the backbone reads and were cut")
    if promote is not None:
        lines.append(f"  promoted   {version.name}:{promote} is now version {version.number}")
    lines.append("next:")
    if promote is None:
        lines.append(f"  headstock promote {version}")
    lines += [f"  headstock predict {version} {_EXAMPLES.get(report['input'], 'INPUT')}", "  headstock serve"]
    return lines
