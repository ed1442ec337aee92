"""A lesson: what a teacher answers about every row, and the loss that makes a student answer alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from headstock.data.cells import is_empty, label_of
from headstock.data.dataset import read_inputs
from headstock.data.inputs import RawInputs
from headstock.data.roles import input_roles
from headstock.data.split import Split
from headstock.data.table import Table
from headstock.digest import Digest, short
from headstock.errors import FailedPrecondition, InvalidInput, Unsupported
from headstock.names import Reference
from headstock.records import Edge, Version
from headstock.servable import ServableModel, load_model

if TYPE_CHECKING:
    import torch

    from headstock.catalogue import Catalogue
    from headstock.finetune.loop import Loss
    from headstock.finetune.recipe import Recipe, TeacherChoice
    from headstock.hookspecs import Batch, HeadType
    from headstock.plugin_host import PluginHost


@dataclass(frozen=True, slots=True)
class Lesson:
    """The teacher's raw outputs for every row of a table, and which rows have a label of their own."""

    teacher: ServableModel
    choice: TeacherChoice
    logits: npt.NDArray[np.float32]
    """[rows, classes], in the order of `labels`."""
    labelled: npt.NDArray[np.bool_]
    """[rows]; the others bear the label that the teacher gave them."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The teacher's classes."""
        return tuple(self.teacher.head.postprocess["labels"])

    @property
    def alone(self) -> bool:
        """True if no row has a label of its own: every figure is then agreement with the teacher."""
        return not bool(self.labelled.any())

    @property
    def truth(self) -> str:
        """What the validation rows are held against."""
        return f"answers of {self.teacher.version}" if self.alone else "labels"

    def split(self, split: Split, samples: Sequence[Digest]) -> Split:
        """The split with no row in validation that only the teacher has labelled, unless there are no others.

        Raises `InvalidInput` where labelled rows exist and none of them validates.
        """
        if self.alone:
            return split
        kept = tuple(row for row in split.validation if self.labelled[row])
        if not kept:
            raise InvalidInput(
                f"none of the {len(split.validation)} validation rows has a label of its own, so nothing could judge "
                "the student but its teacher",
                fix="--validation with a larger share, or more labelled rows",
            )
        held_out = {samples[row] for row in kept}
        more = [row for row in split.validation if not self.labelled[row] and samples[row] not in held_out]
        unused = len(split.validation) - len(kept) - len(more)
        return replace(split, train=tuple(sorted((*split.train, *more))), validation=kept, unused=split.unused + unused)

    def taught(self, rows: Sequence[int]) -> Loss:
        """The loss of a batch out of the training `rows`, told by their places there (Hinton et al. 2015).

        The mean over rows of `alpha * T^2 * KL(teacher at T, student at T)`, plus `1 - alpha` times the cross-entropy
        with the label where the row has one of its own.
        """
        import torch

        functional, temperature, alpha = torch.nn.functional, self.choice.temperature, self.choice.alpha
        soft = functional.softmax(torch.from_numpy(self.logits[list(rows)]) / temperature, dim=-1)
        hard = torch.from_numpy(self.labelled[list(rows)])

        def loss(head: torch.nn.Module, batch: Batch, places: Sequence[int], progress: float) -> torch.Tensor:
            logits = head(batch.features)
            own = functional.log_softmax(logits / temperature, dim=-1)
            apart = functional.kl_div(own, soft[list(places)], reduction="none").sum(dim=-1) * temperature**2
            wrong = functional.cross_entropy(logits, batch.targets, reduction="none") * hard[list(places)]
            return (alpha * apart + (1 - alpha) * wrong).mean()

        return loss

    def edges(self, learners: Sequence[Digest]) -> list[Edge]:
        """Lineage of what has learned from the teacher: the head, and the backbone or adapter if it moved."""
        return [Edge(one, "distilled_from", self.teacher.version.subject) for one in learners]


def open_teacher(catalogue: Catalogue, host: PluginHost, reference: Reference) -> tuple[ServableModel, HeadType]:
    """The model and its head type; raises `Unsupported` unless it answers with one of several classes."""
    model = load_model(catalogue, catalogue.version(reference))
    head_type = host.head_type(model.head.type)
    if model.head.postprocess.get("kind") != "classification" or head_type.task != "classification":
        raise Unsupported(
            f"{model.version} is a {model.head.type!r} model; only one that answers with one of several classes "
            "can teach",
            fix="--teacher with a classification model",
        )
    return model, head_type


def with_label_column(table: Table, column: str) -> Table:
    """The table with an empty column of that name, if it has none."""
    if column in table.columns:
        return table
    return replace(table, columns={**table.columns, column: [None] * len(table)})


def open_lesson(catalogue: Catalogue, host: PluginHost, recipe: Recipe, table: Table) -> tuple[Table, Lesson | None]:
    """Ask the recipe's teacher about every row; the table comes back with its labels where there were none.

    Raises `FailedPrecondition` if the catalogue's teacher is not the recipe's.
    """
    if recipe.teacher is None:
        return table, None
    teacher, head_type = open_teacher(catalogue, host, Reference.parse(recipe.teacher.name))
    _require_digest(teacher.version, Digest(recipe.teacher.digest))
    column = recipe.data.columns["label"]
    table = with_label_column(table, column)
    unused = () if recipe.split.kind == "random" else (recipe.split.column,)
    logits = answers(teacher, read_inputs(table, recipe.data.columns, input_roles(head_type), unused))
    labels = teacher.head.postprocess["labels"]
    cells = table.columns[column]
    given = np.array([not is_empty(cell) for cell in cells], bool)
    filled = [
        label_of(cell) if own else labels[best] for cell, own, best in zip(cells, given, logits.argmax(1), strict=True)
    ]
    return replace(table, columns={**table.columns, column: filled}), Lesson(teacher, recipe.teacher, logits, given)


def answers(model: ServableModel, inputs: RawInputs) -> npt.NDArray[np.float32]:
    """The model's raw outputs [rows, classes] for all inputs."""
    from headstock.predictor import Predictor

    predictor = Predictor(model)
    parts = [
        predictor.predict(*inputs.read(range(start, min(start + inputs.block, len(inputs))))).outputs["logits"]
        for start in range(0, len(inputs), inputs.block)
    ]
    found: npt.NDArray[np.float32] = np.concatenate(parts)
    return found


def _require_digest(version: Version, digest: Digest) -> None:
    if version.subject != digest:
        raise FailedPrecondition(
            f"{version} is model {short(version.subject)} here; the recipe's teacher is {short(digest)}",
            fix="headstock distil with the teacher you want",
        )
