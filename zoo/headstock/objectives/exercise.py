"""An objective in the training loop: other views of the rows every epoch, and always the same ones to be judged by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from headstock.errors import Unsupported
from headstock.finetune.body import Body
from headstock.finetune.learner import Learner
from headstock.finetune.loop import one_thread, seeded
from headstock.hookspecs import Batch, HeadType, LinearForm, Metric, Objective, Studied, Targets, View
from headstock.metrics.intervals import ratio
from headstock.preprocess import Row

Floats = npt.NDArray[np.float64]
_UNASKED = -1


@dataclass(frozen=True, slots=True)
class Measured:
    """An objective's terms on the validation rows, one figure per row in their order."""

    losses: Floats
    hits: Floats
    counts: Floats

    def metrics(self, figure: str, seed: int) -> list[Metric]:
        """The figure and the loss, each with its interval over rows."""
        return [ratio(figure, self.hits, self.counts, seed), ratio("loss", self.losses, self.counts, seed)]


class Exercise(HeadType):
    """An objective where the loop expects a head type; its head answers nobody, so it has no served form."""

    def __init__(
        self,
        objective: Objective,
        options: Mapping[str, Any],
        studied: Studied,
        body: Body,
        validation: Sequence[int],
        batch_size: int,
        seed: int,
    ) -> None:
        """`validation` are numbers of rows that `body` reads."""
        self.name, self.modality, self.tap = objective.name, objective.modality, studied.tap.name  # type: ignore[misc]
        self.task, self.columns, self.primary_metric = "unsupervised", (), objective.figure  # type: ignore[misc]
        self._objective, self._options, self._studied, self._body = objective, options, studied, body
        self._validation, self._size, self._seed = validation, batch_size, seed

    # -------------------------------------------------------------------------------------- what the loop calls
    def batch(self, learner: Learner, numbers: Sequence[int]) -> Batch:
        """A view drawn from torch's current generator, with features that the body computes now."""
        drawn = int(torch.randint(2**62, ()))
        return self._batch(learner.body.rows.read(numbers), np.random.default_rng(drawn))

    def judge(self, learner: Learner) -> tuple[float, float]:
        """Figure and loss on the validation rows."""
        found = self.measure(learner.head)
        asked = max(float(found.counts.sum()), 1e-9)
        return float(found.hits.sum()) / asked, float(found.losses.sum()) / asked

    def loss(self, head: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Losses of all that was asked, over how much that was."""
        terms = self._objective.terms(head, batch, self._options)
        return terms.losses.sum() / terms.counts.sum().clamp(min=1e-9)

    # ------------------------------------------------------------------------------------------------- figures
    def measure(self, head: torch.nn.Module) -> Measured:
        """Terms of the validation rows as head and body are now; the views depend on the seed alone."""
        head.eval()
        self._body.module.eval()
        found = np.zeros((3, len(self._validation)))
        places = list(range(len(self._validation)))
        with torch.no_grad(), one_thread(), seeded(self._seed, "judge"):
            for number, picked in enumerate(self._body.batches(self._validation, places, self._size)):
                rows = self._body.rows.read([self._validation[place] for place in picked])
                batch = self._batch(rows, np.random.default_rng([self._seed, number]))
                terms = self._objective.terms(head, batch, self._options)
                for kind, values in enumerate((terms.losses, terms.hits, terms.counts)):
                    # A row that was seen more than once comes again behind the others.
                    np.add.at(found[kind], np.resize(picked, len(values)), values.double().numpy())
        return Measured(*found)

    def _batch(self, rows: Sequence[Row], random: np.random.Generator) -> Batch:
        view = self._objective.view(self._studied, rows, self._options, random)
        return batch_of(view, self._body.forward(view.rows))

    # ---------------------------------------------------------------------------------- the rest of a head type
    def encode(self, columns: Mapping[str, Sequence[Any]], labels: Sequence[str] | None = None) -> Targets:
        """Nothing is told: a row's targets are made of the row itself."""
        return Targets(np.zeros(max((len(values) for values in columns.values()), default=0), np.int64))

    def build(self, width: int, targets: Targets, options: Mapping[str, Any]) -> torch.nn.Module:
        """The objective's head."""
        return self._objective.build(self._studied, self._options)

    def metrics(self, outputs: Any, targets: Targets, seed: int) -> Sequence[Metric]:
        """Of what `measure` gave."""
        if not isinstance(outputs, Measured):
            raise TypeError(f"this is a bug: {type(outputs).__name__} is not Measured")
        return outputs.metrics(self.primary_metric, seed)

    def linear_form(self, head: torch.nn.Module) -> LinearForm | None:
        """None: it is thrown away."""
        return None

    def postprocess(self, targets: Targets, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Raises `Unsupported`: nobody asks it anything."""
        raise Unsupported(f"objective {self.name!r} makes a backbone; its head is never served")


def batch_of(view: View, features: Sequence[torch.Tensor]) -> Batch:
    """What an objective's `terms` get of a view and the features of its rows."""
    return Batch(_joined(features), _targets(view))


def _joined(features: Sequence[torch.Tensor]) -> torch.Tensor:
    if len({tuple(one.shape) for one in features}) == 1:
        return torch.stack(list(features))
    return torch.nn.utils.rnn.pad_sequence(list(features), batch_first=True)


def _targets(view: View) -> torch.Tensor:
    targets = [torch.from_numpy(np.ascontiguousarray(one)) for one in view.targets]
    if len({tuple(one.shape) for one in targets}) == 1:
        return torch.stack(targets)
    return torch.nn.utils.rnn.pad_sequence(targets, batch_first=True, padding_value=_UNASKED)
