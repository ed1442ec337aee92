"""Options that a recipe is made from; shared by the commands that train and that write recipes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from headstock.cli.column_options import column_options, told_columns
from headstock.cli.option_values import pair, positive
from headstock.errors import InvalidInput
from headstock.names import Reference

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.finetune import Options, Recipe, Table
    from headstock.finetune.recipe import ComputeChoice
    from headstock.plugin_host import PluginHost

F = TypeVar("F", bound=Callable[..., Any])

DECIDED = (
    "backbone", "head", "column", "text_column", "image_column", "audio_column", "question_column", "context_column",
    "label_column", "labels_column", "target_column", "split_column", "group_column", "time_column", "validation",
    "epochs", "backbone_epochs", "batch_size", "lr", "backbone_lr", "schedule",
    "weight_decay", "patience", "min_delta", "seed", "tap", "head_option", "strategy", "feature_cache",
    "device", "precision", "compiler", "processes",
)  # fmt: skip
"""Parameters that a recipe decides; together with one they would contradict it."""


_STRATEGIES = "What learns: feature-extraction, last-N, full, gradual, lp-ft, l2-sp, wise-ft, lora, scratch."

_GROWN = (
    click.option("--backbone", metavar="NAME[:V]", help="Backbone that the head is grown on."),
    click.option("--head", metavar="TYPE", help="Head type; see 'headstock heads'."),
)

_LEARNING = (
    click.option("--validation", type=float, default=0.2, show_default=True, help="Share of rows that validate."),
    click.option(
        "--epochs", type=click.IntRange(1, 100_000), default=60, show_default=True, help="Most epochs to train."
    ),
    click.option(
        "--backbone-epochs",
        type=click.IntRange(1, 100_000),
        default=5,
        show_default=True,
        help="Most epochs of a phase in which the backbone learns.",
    ),
    click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Rows per step."),
    click.option("--lr", type=float, default=3e-3, show_default=True, help="Learning rate of the head."),
    click.option(
        "--backbone-lr",
        type=float,
        help="Learning rate of the backbone's last live layers.  [default: 1e-4; 2e-3 for lora]",
    ),
    click.option(
        "--schedule",
        type=click.Choice(["cosine", "constant", "slanted"]),
        default="cosine",
        show_default=True,
        help="How the learning rate moves.",
    ),
    click.option("--weight-decay", type=float, default=1e-2, show_default=True, help="AdamW's weight decay."),
    click.option(
        "--patience",
        type=click.IntRange(0),
        default=15,
        show_default=True,
        help="Epochs without gain before stopping; 0 never stops early.",
    ),
    click.option("--min-delta", type=float, default=0.0, show_default=True, help="Smallest gain that counts."),
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of split, weights and order."),
    click.option("--tap", metavar="TAP", help="Output of the backbone to stand on.  [default: the head type's]"),
    click.option("--head-option", metavar="KEY=VALUE", multiple=True, help="Option of the head type; repeatable."),
)

_COMPUTE = (
    click.option(
        "--feature-cache/--no-feature-cache",
        default=True,
        show_default=True,
        help="Run the backbone once per sample, or once per sample and epoch.",
    ),
    click.option(
        "--device",
        type=click.Choice(["cpu", "cuda"]),
        default="cpu",
        show_default=True,
        help="Where the backbone is trained.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["fp32", "bf16"]),
        default="fp32",
        show_default=True,
        help="Of the products in training; weights stay FP32.",
    ),
    click.option(
        "--compile",
        "compiler",
        is_flag=False,
        flag_value="inductor",
        default="",
        metavar="[BACKEND]",
        help="Train a backbone compiled by torch.compile.",
    ),
    click.option(
        "--processes",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="Train the backbone in so many processes, one for each GPU or CPU core.",
    ),
)


def recipe_options(command: F) -> F:
    """`--backbone`, `--head`, the columns and everything else that decides a fine-tune."""
    return _with(_GROWN, training_options("feature-extraction")(command))


def training_options(strategy: str) -> Callable[[F], F]:
    """What decides a fine-tune whose backbone and head are known: the columns and all of the training.

    `strategy` is the one unless `--strategy` says another.
    """
    chosen = click.option("--strategy", metavar="NAME", default=strategy, show_default=True, help=_STRATEGIES)
    return lambda command: column_options(_with((*_LEARNING, chosen, *_COMPUTE), command))


def _with(options: Sequence[Callable[[F], F]], command: F) -> F:
    # Decorators apply from the last to the first, and help lists in that order.
    for option in reversed(options):
        command = option(command)
    return command


def plan(catalogue: Catalogue, host: PluginHost, table: Table, asked: Mapping[str, Any]) -> Recipe:
    """The recipe that the options ask for; raises as `plan_recipe` does, and for an option that is missing."""
    from headstock.finetune import plan_recipe

    for option in ("backbone", "head"):
        if asked[option] is None:
            raise InvalidInput(f"--{option} is missing", fix=f"headstock {'list' if option == 'backbone' else 'heads'}")
    return plan_recipe(catalogue, host, table, Reference.parse(asked["backbone"]), asked["head"], options_of(asked))


def options_of(asked: Mapping[str, Any]) -> Options:
    """What the options ask for; raises `InvalidInput` for a value that cannot be used."""
    from headstock.finetune import Options
    from headstock.finetune.strategy import HIGHEST_RATE

    return Options(
        columns=told_columns(asked),
        split_column=asked["split_column"],
        group_column=asked["group_column"],
        time_column=asked["time_column"],
        validation=asked["validation"],
        epochs=asked["epochs"],
        backbone_epochs=asked["backbone_epochs"],
        batch_size=asked["batch_size"],
        learning_rate=positive("--lr", asked["lr"], instead=3e-3, most=HIGHEST_RATE),
        backbone_rate=None
        if asked["backbone_lr"] is None
        else positive("--backbone-lr", asked["backbone_lr"], instead=1e-4, most=HIGHEST_RATE),
        schedule=asked["schedule"],
        weight_decay=positive("--weight-decay", asked["weight_decay"], instead=1e-2, zero=True),
        patience=asked["patience"],
        min_delta=positive("--min-delta", asked["min_delta"], instead=0, zero=True),
        seed=asked["seed"],
        tap=asked["tap"],
        head_options=dict(pair("--head-option", text) for text in asked["head_option"]),
        strategy=asked["strategy"],
        cache=asked["feature_cache"],
        compute=_compute(asked),
    )


def _compute(asked: Mapping[str, Any]) -> ComputeChoice | None:
    """None for what a recipe that leaves it out means."""
    from headstock.finetune.recipe import ComputeChoice

    plain = ComputeChoice(device="cpu", precision="fp32", compiler="", processes=1)
    chosen = ComputeChoice(**{name: asked[name] for name in ComputeChoice.model_fields})
    return None if chosen == plain else chosen


def said_of(context: click.Context) -> set[str]:
    """Names of the fields of `Options` that were given on the command line."""
    given = {p for p in DECIDED if context.get_parameter_source(p) is ParameterSource.COMMANDLINE}
    renamed = {"lr": "learning_rate", "backbone_lr": "backbone_rate", "feature_cache": "cache"}
    renamed |= {"head_option": "head_options", "column": "columns"}
    renamed |= dict.fromkeys(("device", "precision", "compiler", "processes"), "compute")
    split = {"split_column", "group_column", "time_column"}
    return {"columns" if p.endswith("_column") and p not in split else renamed.get(p, p) for p in given}
