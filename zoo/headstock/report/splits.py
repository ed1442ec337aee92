"""Models over several splits of the same rows: how far a figure depends on which rows happened to validate."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstock.data.split import split_rows
from headstock.data.split_choice import GroupSplit, RandomSplit
from headstock.errors import InvalidInput
from headstock.report.scoring import Scoring
from headstock.report.transfer import CHOSEN

if TYPE_CHECKING:
    from headstock.finetune.prepare import Prepared
    from headstock.finetune.training import Trained
    from headstock.finetune.values import Values

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Resplit:
    """One other split, with the features of the backbone that the run began with."""

    seed: int
    train: Sequence[int]
    """Row numbers, as those of the recipe's own split are."""
    validation: Sequence[int]
    features: Array
    """[training rows, ..., width]"""
    held_out: Array
    """[validation rows, ..., width]"""
    targets: Array
    """Of the training rows."""
    truth: Array


def over_splits(
    scoring: Scoring,
    prepared: Prepared,
    trained: Trained,
    count: int,
    models: Mapping[str, Callable[[Resplit], Array]],
    against: str,
) -> dict[str, Any]:
    """Mean figures of `models` over `count` other splits, and of the chosen strategy's gain over `against`.

    The intervals are those of Nadeau and Bengio, Machine Learning 52 (2003): splits of one set of rows share rows, and
    the usual variance of their mean would be too small. Where no other split can be drawn the result says why.
    """
    why = _impossible(prepared)
    if why is not None:
        return {"splits": 0, "missing": why}
    parts = [_resplit(prepared, trained, prepared.recipe.seed + 1 + number) for number in range(count)]
    figures: dict[str, list[float]] = {}
    for name, answer in models.items():
        figures[name] = [scoring.score(answer(part), part.truth, part.seed).value for part in parts]
    ratio = float(np.mean([len(part.validation) / len(part.train) for part in parts]))
    found: dict[str, Any] = {
        "splits": count,
        "method": "corrected resampled t",
        "figure": scoring.figure,
        "rows": [{"name": name, **_mean(values, ratio)} for name, values in figures.items()],
    }
    if CHOSEN in figures and against in figures:
        gains = [ours - theirs for ours, theirs in zip(figures[CHOSEN], figures[against], strict=True)]
        found["gain"] = {"against": against, **_mean(gains, ratio)}
    if CHOSEN not in figures:
        found["missing"] = f"the strategy {prepared.recipe.strategy.name!r} moves the backbone, and is run once only"
    return found


def head_outputs(prepared: Prepared, part: Resplit) -> Values:
    """Raw outputs on the validation rows of the recipe's head, trained on another split with another seed."""
    import torch

    from headstock.finetune import loop
    from headstock.finetune.checkpoint import State

    recipe, head_type = prepared.recipe.model_copy(update={"seed": part.seed}), prepared.head_type
    train, validation = (prepared.targets.only(rows) for rows in (part.train, part.validation))
    width = part.features.shape[-1]
    with loop.one_thread(), loop.seeded(part.seed, "build"):
        head = head_type.build(width, train, head_type.resolve_options(width, recipe.head.options))
    fit = getattr(head, "fit_input_statistics", None)
    if callable(fit):
        fit(torch.from_numpy(part.features))
    job = loop.Job(recipe, head_type, lambda: (part.features, part.held_out), train, validation)
    loop.train(job, head, State(), lambda state: None)
    return loop.outputs_of(head, part.held_out)


def _impossible(prepared: Prepared) -> str | None:
    if not isinstance(prepared.recipe.split, RandomSplit | GroupSplit):
        return "the data or the time of its rows decides the split, so there is no other"
    if prepared.parent is not None or prepared.lesson is not None:
        return "a parent or a teacher has seen some of the rows, so they cannot change sides"
    return None


def _resplit(prepared: Prepared, trained: Trained, seed: int) -> Resplit:
    own, choice = prepared.split, prepared.recipe.split
    values = np.concatenate([np.asarray(trained.probe_train), np.asarray(trained.probe_validation)])
    place = {row: number for number, row in enumerate((*own.train, *own.validation))}
    drawn = split_rows(
        choice.model_copy(update={"seed": seed}), prepared.table, prepared.dataset.samples, prepared.dataset.classes
    )
    train, validation = ([row for row in rows if row in place] for rows in (drawn.train, drawn.validation))
    if not (train and validation):
        raise InvalidInput("another split leaves one side empty", fix="fine-tune without --splits")
    features, held_out = (values[[place[row] for row in rows]] for rows in (train, validation))
    targets = np.asarray(prepared.targets.values)
    return Resplit(seed, train, validation, features, held_out, targets[train], targets[validation])


def _mean(values: Sequence[float], ratio: float) -> dict[str, Any]:
    """Mean and 95 % interval; none where a single value has no spread."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return {"value": mean, "low": None, "high": None, "values": list(values)}
    from scipy.stats import t

    half = float(t.ppf(0.975, len(values) - 1)) * math.sqrt((1 / len(values) + ratio) * float(np.var(values, ddof=1)))
    return {"value": mean, "low": mean - half, "high": mean + half, "values": list(values)}
