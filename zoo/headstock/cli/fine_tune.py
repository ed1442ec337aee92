"""`headstock fine-tune`: grow a model on a backbone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from headstock.cli.column_options import column_options, told_columns
from headstock.cli.output import format_option
from headstock.errors import InvalidInput, NotFound
from headstock.names import Reference, check_alias, check_name

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.finetune import Outcome, Recipe, Table
    from headstock.plugin_host import PluginHost

# Parameters that a recipe decides; together with --recipe they would contradict it.
_DECIDED = (
    "backbone", "head", "column", "text_column", "image_column", "audio_column", "question_column", "context_column",
    "label_column", "labels_column", "target_column", "split_column", "group_column", "time_column", "validation",
    "epochs", "backbone_epochs", "batch_size", "lr", "backbone_lr", "schedule",
    "weight_decay", "patience", "min_delta", "seed", "tap", "head_option", "strategy", "feature_cache",
)  # fmt: skip

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
@click.option("--name", required=True, help="Name of the model; an existing one gets its next version.")
@click.option("--backbone", metavar="NAME[:V]", help="Backbone that the head is grown on.")
@click.option("--head", metavar="TYPE", help="Head type; see 'headstock heads'.")
@column_options
@click.option("--validation", type=float, default=0.2, show_default=True, help="Share of rows that validate.")
@click.option("--epochs", type=click.IntRange(1), default=60, show_default=True, help="Most epochs to train.")
@click.option(
    "--backbone-epochs",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Most epochs of a phase in which the backbone learns.",
)
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Rows per step.")
@click.option("--lr", type=float, default=3e-3, show_default=True, help="Learning rate of the head.")
@click.option(
    "--backbone-lr",
    type=float,
    default=1e-4,
    show_default=True,
    help="Learning rate of the backbone's last live layers.",
)
@click.option(
    "--schedule",
    type=click.Choice(["cosine", "constant", "slanted"]),
    default="cosine",
    show_default=True,
    help="How the learning rate moves.",
)
@click.option("--weight-decay", type=float, default=1e-2, show_default=True, help="AdamW's weight decay.")
@click.option(
    "--patience",
    type=click.IntRange(0),
    default=15,
    show_default=True,
    help="Epochs without gain before stopping; 0 never stops early.",
)
@click.option("--min-delta", type=float, default=0.0, show_default=True, help="Smallest gain that counts.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of split, weights and order.")
@click.option("--tap", metavar="TAP", help="Output of the backbone to stand on.  [default: the head type's]")
@click.option("--head-option", metavar="KEY=VALUE", multiple=True, help="Option of the head type; repeatable.")
@click.option(
    "--strategy",
    metavar="NAME",
    default="feature-extraction",
    show_default=True,
    help="Which layers learn, and when: feature-extraction, last-N, full, gradual, lp-ft, l2-sp, wise-ft, scratch.",
)
@click.option(
    "--feature-cache/--no-feature-cache",
    default=True,
    show_default=True,
    help="Run the backbone once per sample, or once per sample and epoch.",
)
@click.option(
    "--recipe",
    metavar="FILE|NAME[:V]",
    help="Repeat a recipe file, or the recipe of a model; decides everything but data and name.",
)
@click.option("--new-data", is_flag=True, help="With --recipe: the data may be another file than the recipe's.")
@click.option("--save-recipe", type=click.Path(path_type=Path), help="Also write the recipe as TOML.")
@click.option("--data-licence", metavar="ID", help="Licence of the data, as you state it: an SPDX id.")
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
    name: str,
    recipe: str | None,
    new_data: bool,
    save_recipe: Path | None,
    data_licence: str | None,
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
    """
    check_name(name)
    if promote is not None:
        check_alias(promote)
    # The data is read and judged before anything heavy is imported: a typo costs no wait.
    from headstock.catalogue import Catalogue
    from headstock.cli.fine_tune_progress import open_observer
    from headstock.finetune import fine_tune, read_table
    from headstock.licences import enforcement
    from headstock.plugin_host import open_host

    table = read_table(data)
    with Catalogue.open() as catalogue:
        host = open_host()
        if recipe is None:
            if new_data:
                raise InvalidInput("--new-data needs --recipe", fix="--recipe FILE")
            chosen = _plan(catalogue, host, table, asked)
        else:
            chosen = _repeat(context, catalogue, recipe, table, new_data)
        if save_recipe is not None:
            _save(chosen, save_recipe)
        observer = open_observer(verbose=verbose, quiet=format_ != "table")
        if recipe is None:
            _tell_guesses(observer.say, chosen, asked)
        try:
            outcome = fine_tune(
                catalogue, host, chosen, table, name,
                observer=observer, threads=threads, data_licence=data_licence or "",
            )  # fmt: skip
        except KeyboardInterrupt:
            observer.say("interrupted; run the same command again to go on from the last epoch")
            raise
        if promote is not None:
            # What there is to warn of was said before the training.
            enforcement.promote(catalogue, outcome.version, promote, reason="fine-tune --promote")
    _print(outcome, promote, format_)


def _plan(catalogue: Catalogue, host: PluginHost, table: Table, asked: Mapping[str, Any]) -> Recipe:
    from headstock.finetune import Options, plan_recipe

    for option in ("backbone", "head"):
        if asked[option] is None:
            raise InvalidInput(f"--{option} is missing", fix=f"headstock {'list' if option == 'backbone' else 'heads'}")
    options = Options(
        columns=told_columns(asked),
        split_column=asked["split_column"],
        group_column=asked["group_column"],
        time_column=asked["time_column"],
        validation=asked["validation"],
        epochs=asked["epochs"],
        backbone_epochs=asked["backbone_epochs"],
        batch_size=asked["batch_size"],
        learning_rate=_positive("--lr", asked["lr"]),
        backbone_rate=_positive("--backbone-lr", asked["backbone_lr"]),
        schedule=asked["schedule"],
        weight_decay=_positive("--weight-decay", asked["weight_decay"], zero=True),
        patience=asked["patience"],
        min_delta=_positive("--min-delta", asked["min_delta"], zero=True),
        seed=asked["seed"],
        tap=asked["tap"],
        head_options=dict(_pair(text) for text in asked["head_option"]),
        strategy=asked["strategy"],
        cache=asked["feature_cache"],
    )
    return plan_recipe(catalogue, host, table, Reference.parse(asked["backbone"]), asked["head"], options)


def _repeat(context: click.Context, catalogue: Catalogue, source: str, table: Table, new_data: bool) -> Recipe:
    said = [p for p in _DECIDED if context.get_parameter_source(p) is ParameterSource.COMMANDLINE]
    if said:
        option = "--" + said[0].replace("_", "-")
        raise InvalidInput(
            f"{option} is decided by the recipe {source!r}", fix=f"edit the recipe, or leave {option} out"
        )
    from headstock.data.dataset import data_digest

    recipe = _read_recipe(catalogue, source)
    return recipe.with_data(table.name, data_digest(table, recipe.data.columns)) if new_data else recipe


def _read_recipe(catalogue: Catalogue, source: str) -> Recipe:
    from headstock.finetune import Recipe

    path = Path(source)
    if path.suffix == ".toml" or path.is_file():
        return Recipe.from_toml(path)
    version = catalogue.version(Reference.parse(source))
    blob = catalogue.artefact(version.subject).files.get("recipe")
    if blob is None:
        raise NotFound(f"{version} is a {version.kind} and has no recipe", fix="--recipe FILE.toml")
    return Recipe.from_json(catalogue.store.read_json(blob), f"recipe of {version}")


def _save(recipe: Recipe, path: Path) -> None:
    try:
        path.write_text(recipe.to_toml(), encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"cannot write the recipe to {path.name!r}: {error.strerror}") from error


def _positive(option: str, value: float, *, zero: bool = False) -> float:
    if not (value > 0 or (zero and value == 0)) or value == float("inf"):
        raise InvalidInput(
            f"{option} {value} is not usable; expected a {'number of at least' if zero else 'number above'} 0"
        )
    return value


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InvalidInput(f"--head-option {text!r} has no value", fix=f"--head-option {text}=VALUE")
    return key.strip(), value.strip()


def _tell_guesses(say: Any, recipe: Recipe, asked: Mapping[str, Any]) -> None:
    told = told_columns(asked)
    guessed = {r: c for r, c in recipe.data.columns.items() if r not in told}
    if guessed:
        say("columns: " + ", ".join(f"{role} from {column!r}" for role, column in guessed.items()))


def _print(outcome: Outcome, promote: str | None, format_: str) -> None:
    if format_ == "json":
        record = {"name": outcome.version.name, "number": outcome.version.number, "head": outcome.head}
        click.echo(json.dumps({**record, "fresh": outcome.fresh, **outcome.report}, indent=2, ensure_ascii=False))
    elif format_ == "quiet":
        click.echo(str(outcome.version))
    else:
        click.echo("\n".join(_lines(outcome, promote)))


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
