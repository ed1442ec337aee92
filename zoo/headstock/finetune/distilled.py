"""Distillation: the recipe of a student, and the student beside its teacher and beside itself untaught."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstock.data.table import Table
from headstock.digest import Digest
from headstock.errors import InvalidInput
from headstock.finetune.features import FeatureExtractor
from headstock.finetune.lesson import Lesson, open_teacher, with_label_column
from headstock.finetune.observer import Observer, Trackers
from headstock.finetune.plan import Options, plan_recipe, standing_on
from headstock.finetune.recipe import Recipe, TeacherChoice
from headstock.finetune.rehearsal import Part
from headstock.finetune.run import RunFolder
from headstock.finetune.values import flat
from headstock.metrics import wilson
from headstock.names import Reference
from headstock.records import Edge
from headstock.report.verdict import Gain, paired_gain
from headstock.servable import ServableAdapter, ServableBackbone, ServableModel, load_backbone, servable_adapter

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.finetune.prepare import Prepared
    from headstock.finetune.training import Trained
    from headstock.finetune.values import Values
    from headstock.plugin_host import PluginHost

LABEL = "label"
"""Column that a table without labels gets, to be filled by the teacher."""
_TIMED = 32
_TIMES = 3

Hits = npt.NDArray[np.bool_]


def plan_distilled(
    catalogue: Catalogue,
    host: PluginHost,
    table: Table,
    teacher: Reference,
    student: Reference,
    options: Options,
    *,
    temperature: float,
    alpha: float,
    any_size: bool = False,
) -> Recipe:
    """The recipe for teaching a head of the teacher's type on backbone `student`.

    Rows may lack a label; a table of one column lacks all of them. Raises as `plan_recipe` does, `Unsupported` for a
    teacher without classes, and `InvalidInput` for a student that is not smaller than its teacher, unless `any_size`.
    """
    if not (0 < temperature < float("inf")):
        raise InvalidInput(
            f"--temperature {temperature} is not usable; expected a number above 0", fix="--temperature 4"
        )
    if not 0 <= alpha <= 1:
        raise InvalidInput(f"--alpha {alpha} is no share; expected a number from 0 to 1", fix="--alpha 0.7")
    model, head_type = open_teacher(catalogue, host, teacher)
    if len(table.columns) == 1 and "label" not in options.columns:
        table = with_label_column(table, LABEL)
        options = replace(options, columns={**options.columns, "label": LABEL})
    if not any_size:
        _require_smaller(catalogue, model, student)
    recipe = plan_recipe(catalogue, host, table, student, head_type.name, options)
    choice = TeacherChoice(name=str(model.version), digest=model.version.subject, temperature=temperature, alpha=alpha)
    return recipe.model_copy(update={"teacher": choice})


def _require_smaller(catalogue: Catalogue, teacher: ServableModel, student: Reference) -> None:
    version = catalogue.version(student)
    own, taught = (_bytes(one) for one in (teacher.backbone, load_backbone(catalogue, standing_on(catalogue, version))))
    if taught >= own:
        raise InvalidInput(
            f"student {str(version)!r} has a graph of {taught / 1e6:.2f} MB and its teacher {teacher.version} one of "
            f"{own / 1e6:.2f} MB; expected a smaller student",
            fix="--student with a smaller backbone, or --any-size to teach this one nevertheless",
        )


def measure(
    catalogue: Catalogue, host: PluginHost, prepared: Prepared, trained: Trained, outputs: Values, watcher: Observer
) -> dict[str, Any]:
    """`distillation` of the report; empty for a run without a teacher. `outputs` are the student's on validation."""
    lesson = prepared.lesson
    if lesson is None:
        return {}
    truth = np.asarray(prepared.validation.values)
    rows = prepared.split.validation
    student = flat(outputs).argmax(axis=-1) == truth
    teacher = lesson.logits[list(rows)].argmax(axis=-1) == truth
    untaught = _untaught(catalogue, host, prepared, lesson, watcher)
    found: dict[str, Any] = {
        "teacher": str(lesson.teacher.version),
        "temperature": lesson.choice.temperature,
        "alpha": lesson.choice.alpha,
        "labelled": int(lesson.labelled.sum()),
        "unlabelled": int((~lesson.labelled).sum()),
        "truth": lesson.truth,
        "rows": len(rows),
        "accuracy": {"teacher": _rate(teacher), "student": _rate(student)},
        "against_teacher": _gain(paired_gain(student, teacher)),
        "cost": _cost(catalogue, prepared, trained, lesson),
    }
    if untaught is not None:
        found["accuracy"]["undistilled"] = _rate(untaught)
        found["against_undistilled"] = _gain(paired_gain(student, untaught))
    return {"distillation": found}


def _untaught(
    catalogue: Catalogue, host: PluginHost, prepared: Prepared, lesson: Lesson, watcher: Observer
) -> Hits | None:
    """Which validation rows the same student gets right that learns from the labels alone; None without labels."""
    from headstock.finetune.loop import outputs_of
    from headstock.finetune.training import train_head

    train = tuple(row for row in prepared.split.train if lesson.labelled[row])
    if not train:
        return None
    watcher.say("training the same student on the labels alone, to compare")
    recipe = prepared.recipe.model_copy(update={"teacher": None})
    alone = replace(prepared, recipe=recipe, lesson=None, split=replace(prepared.split, train=train))
    with RunFolder(catalogue.settings.runs, recipe) as run:
        quiet = Observer()
        trained = train_head(catalogue, host, alone, run, quiet, Trackers((), quiet.say), 1, compared=True)
        run.remove()
    hits: Hits = flat(outputs_of(trained.head, trained.validation)).argmax(axis=-1) == prepared.validation.values
    return hits


def _cost(catalogue: Catalogue, prepared: Prepared, trained: Trained, lesson: Lesson) -> dict[str, Any]:
    """Bytes of the graphs, and time per row of both backbones side by side on one thread, preprocessing included."""
    backbone = trained.new_backbone.servable if trained.new_backbone else prepared.backbone
    adapter = None if trained.adapter is None else servable_adapter(catalogue, trained.adapter)
    rows = Part(prepared.dataset.inputs, prepared.split.validation[:_TIMED])
    taps = (lesson.teacher.head.tap, prepared.recipe.head.tap)
    sides = ((lesson.teacher.backbone, lesson.teacher.adapter), (backbone, adapter))
    sizes = [_bytes(one) for one, _ in sides]
    seconds = [_seconds(*side, tap, prepared, rows) for side, tap in zip(sides, taps, strict=True)]
    return {
        "teacher_bytes": sizes[0],
        "student_bytes": sizes[1],
        "size_ratio": sizes[1] / sizes[0],
        "teacher_seconds_per_row": seconds[0] / len(rows),
        "student_seconds_per_row": seconds[1] / len(rows),
        "time_ratio": seconds[1] / seconds[0],
    }


def _bytes(backbone: ServableBackbone) -> int:
    return backbone.graph.stat().st_size


def _seconds(
    backbone: ServableBackbone, adapter: ServableAdapter | None, tap: str, prepared: Prepared, rows: Part
) -> float:
    from headstock.adapter.adapted import AdaptedGraph

    graph = None if adapter is None else AdaptedGraph(adapter)
    extractor = FeatureExtractor(backbone, tap, None, reads=prepared.head_type.reads, graph=graph)
    taken = []
    for _ in range(_TIMES):
        began = time.perf_counter()
        extractor.features(rows, lambda done, total: None)
        taken.append(time.perf_counter() - began)
    return min(taken)


def _rate(hits: Hits) -> dict[str, float]:
    score = wilson("accuracy", int(hits.sum()), len(hits))
    return {"value": score.value, "low": score.low, "high": score.high}


def _gain(gain: Gain) -> dict[str, float]:
    return {"value": gain.value, "low": gain.low, "high": gain.high}


def lineage(prepared: Prepared, trained: Trained, head: Digest, adapter: Digest | None) -> list[Edge]:
    """Edges of the run's head, and of what it stands on, to the models that they were made from."""
    learners: Sequence[Digest | None] = (head, adapter, trained.new_backbone.digest if trained.new_backbone else None)
    taught = prepared.lesson.edges([one for one in learners if one is not None]) if prepared.lesson else []
    return [*prepared.edges(head, adapter), *taught]
