"""All comparisons of one run: rows that they train on, their answers on the validation rows, and what follows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from shlex import quote
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstock.digest import digest_json
from headstock.errors import HeadstockError, Unsupported
from headstock.hookspecs import Metric
from headstock.report import baselines, scratch
from headstock.report.calibration import calibration
from headstock.report.curve import learning_curve
from headstock.report.forms import form_of_run
from headstock.report.groups import group_figures, group_metrics, group_of
from headstock.report.price import company
from headstock.report.probe import probe
from headstock.report.scoring import SCORINGS, Scoring
from headstock.report.sharing import price
from headstock.report.slices import slice_metrics
from headstock.report.splits import Resplit, over_splits
from headstock.report.transfer import CHOSEN, PROBE, SCRATCH, transfer, transfer_of_metrics

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.finetune.prepare import Prepared
    from headstock.finetune.publish import TrainedHead
    from headstock.finetune.training import Trained
    from headstock.finetune.values import Values
    from headstock.plugin_host import PluginHost
    from headstock.report.assessment import Assessment

Ints = npt.NDArray[np.int64]
Array = npt.NDArray[Any]

_MOST_ROWS = {"quick": 4_000, "full": 20_000}
SCRATCH_SECONDS = {"quick": 10.0, "full": 120.0}
"""CPU seconds that training from scratch may take, by depth; what would take longer is not run."""
_MOST_KEPT = 20_000
_LOOKED_AT = 64


class Comparisons:
    """Of one run, whose assessment they make."""

    def __init__(
        self, catalogue: Catalogue, host: PluginHost, prepared: Prepared, trained: Trained, asked: Assessment
    ) -> None:
        self.catalogue, self.host = catalogue, host
        self.prepared, self.trained, self.asked = prepared, trained, asked
        self.kind, self.task, self.seed = prepared.backbone.spec.kind, prepared.head_type.task, prepared.recipe.seed
        self.scoring: Scoring | None = SCORINGS.get(self.task)
        self.train, self.truth = (part.values for part in (prepared.train, prepared.validation))
        # What only a teacher has labelled is no target data: whoever learned from it would have seen the source.
        own = own_rows(prepared)
        # One permutation, so that comparisons see the same rows and a second run the same ones again.
        chosen = np.random.default_rng(self.seed).permutation(own)[: _MOST_ROWS[asked.depth]]
        self.rows: Ints = np.sort(chosen).astype(np.int64)
        self.missing: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        self.from_scratch: dict[str, Any] | None = None

    def report(self, outputs: Values, head: TrainedHead, core: Mapping[str, Any], name: str) -> dict[str, Any]:
        """All parts."""
        began = time.perf_counter()
        split = self.prepared.split
        validation = {"rows": digest_json([self.prepared.dataset.samples[row] for row in split.validation])}
        if not len(self.rows):
            why = "no training row has a label of its own, so nothing can learn from the target data alone"
            parts: dict[str, Any] = {"transfer": None, "transfer_missing": {"verdict": why}}
        elif self.scoring is None:
            parts = self._by_metric(core, name)
        else:
            parts = self._by_row(self.scoring, _flat(outputs), name)
        parts["validation"] = {"answers": None, **parts.get("validation", {}), **validation}
        if self.asked.price:
            parts["price"] = self._price(head, {**core, **parts}, name)
        return parts | {"report_seconds": round(time.perf_counter() - began, 3)}

    def _by_row(self, scoring: Scoring, outputs: Array, name: str) -> dict[str, Any]:
        """What is known where every row has one answer that is right or wrong, or near or far."""
        answers: dict[str, Array] = {
            scoring.guess: scoring.guessed(self.train[own_rows(self.prepared)], len(self.truth))
        }
        ours = answers[CHOSEN] = scoring.answers(outputs)
        for model, measure in self._measurements(scoring, name).items():
            self._measured(model, measure, answers)
        compared = transfer(scoring, answers, self.truth, self.seed, self.seconds)
        parts: dict[str, Any] = {
            "transfer": self._told(compared) | {"over_splits": self._over_splits(scoring, compared["against"])},
            "validation": {"answers": ours.tolist() if len(ours) <= _MOST_KEPT else None},
        }
        validation = self._raw(self.prepared.split.validation)
        classes = self.task == "classification"
        return parts | {
            "calibration": calibration(outputs, self.truth, self.seed) if classes else None,
            "groups": self._groups(scoring, answers),
            "learning_curve": self._curve(scoring) if self.asked.depth == "full" else None,
            "slices": slice_metrics(self.kind, validation, self._score(scoring, ours)),
        }

    def _curve(self, scoring: Scoring) -> list[dict[str, Any]] | None:
        def score(rows: Ints) -> Metric:
            return scoring.score(self._probe(rows), self.truth, self.seed)

        return learning_curve(score, self.train, self.rows, self.seed, classes=self.task == "classification")

    def _over_splits(self, scoring: Scoring, against: str) -> dict[str, Any] | None:
        if not self.asked.splits:
            return None
        models = {name: measure for name, measure in self._resplit_models(scoring).items() if name not in self.missing}
        return over_splits(scoring, self.prepared, self.trained, self.asked.splits, models, against)

    def _resplit_models(self, scoring: Scoring) -> dict[str, Callable[[Resplit], Array]]:
        """Answers on another split's validation rows, of the models that take seconds on cached features."""
        from headstock.report.splits import head_outputs

        def classical(model: Callable[..., Array] | None) -> Callable[[Resplit], Array]:
            def answer(part: Resplit) -> Array:
                train, validation = self._raw(part.train), self._raw(part.validation)
                if model is not None:
                    return model(self.task, train, part.targets, validation, part.seed)
                return baselines.classical(self.kind, self.task, train, part.targets, validation, part.seed)

            return answer

        found: dict[str, Callable[[Resplit], Array]] = {
            scoring.guess: lambda part: scoring.guessed(part.targets, len(part.validation)),
            baselines.name_of(self.kind, self.task): classical(None),
            PROBE: lambda part: probe(self.task, part.features, part.targets, part.held_out, part.seed),
        }
        if self.kind == "table":
            found[baselines.LINEAR] = classical(baselines.linear)
        if not self.prepared.recipe.strategy.live:
            found[CHOSEN] = lambda part: scoring.answers(_flat(head_outputs(self.prepared, part)))
        return found

    def _score(self, scoring: Scoring, answers: Array) -> Callable[[npt.NDArray[np.bool_]], Metric]:
        return lambda rows: scoring.score(answers[rows], self.truth[rows], self.seed)

    def _by_metric(self, core: Mapping[str, Any], name: str) -> dict[str, Any]:
        """What is known of answers of many parts: the head type's own figure, of this model and of one from scratch."""
        head_type, figure = self.prepared.head_type, self.prepared.head_type.primary_metric
        scores = {CHOSEN: next(Metric(**metric) for metric in core["metrics"] if metric["name"] == figure)}

        def scratched() -> Metric:
            found = head_type.metrics(self._scratch(name), self.prepared.validation, self.seed)
            return next(metric for metric in found if metric.name == figure)

        if self._is_scratch:
            return {"transfer": None, "transfer_missing": {"verdict": "this model is the one from scratch"}}
        self._measured(SCRATCH, scratched, scores)
        if SCRATCH not in scores:
            return {"transfer": None, "transfer_missing": self.missing}
        return {"transfer": self._told(transfer_of_metrics(figure, scores, self.seconds))}

    def _measured(self, model: str, measure: Callable[[], Any], found: dict[str, Any]) -> None:
        began = time.perf_counter()
        try:
            found[model] = measure()
        except ModuleNotFoundError as error:
            self.missing[model] = f"{error.name} is not installed"
        except HeadstockError as error:
            self.missing[model] = error.message
        else:
            self.seconds[model] = round(time.perf_counter() - began, 3)

    def _measurements(self, scoring: Scoring, name: str) -> dict[str, Callable[[], Array]]:
        found: dict[str, Callable[[], Array]] = {
            baselines.name_of(self.kind, self.task): self._classical,
            PROBE: self._probe,
        }
        if self.kind == "table":
            found[baselines.LINEAR] = lambda: self._classical(baselines.linear)
        if self._is_scratch:
            return found
        return {**found, SCRATCH: lambda: scoring.answers(_flat(self._scratch(name)))}

    @property
    def _is_scratch(self) -> bool:
        return self.prepared.recipe.strategy.initial == "random"

    def _classical(self, model: Callable[..., Array] | None = None) -> Array:
        split = self.prepared.split
        train = self._raw([split.train[row] for row in self.rows])
        targets, validation = self.train[self.rows], self._raw(split.validation)
        if model is not None:
            return model(self.task, train, targets, validation, self.seed)
        return baselines.classical(self.kind, self.task, train, targets, validation, self.seed)

    def _probe(self, rows: Ints | None = None) -> Array:
        rows = self.rows if rows is None else rows
        train, validation = np.asarray(self.trained.probe_train), np.asarray(self.trained.probe_validation)
        return probe(self.task, train[rows], self.train[rows], validation, self.seed)

    def _scratch(self, name: str) -> Values:
        budget = SCRATCH_SECONDS[self.asked.depth]
        command = f"headstock report {name} --scratch --data {quote(self.prepared.table.name)}"
        rows = self.rows.tolist()
        try:
            scratch.check_budget(self.prepared, len(rows), budget)
            found, self.from_scratch = scratch.outputs(self.catalogue, self.host, self.prepared, rows, budget)
        except HeadstockError as error:
            raise Unsupported(f"not run: {error.message}; {command}") from error
        return found

    def _raw(self, rows: Sequence[int]) -> list[Any]:
        """The first raw input of rows, read in blocks as the data set asks for."""
        inputs, found = self.prepared.dataset.inputs, []
        for start in range(0, len(rows), inputs.block):
            found += inputs.read(rows[start : start + inputs.block])[0]
        return found

    def _told(self, compared: dict[str, Any]) -> dict[str, Any]:
        return compared | {
            # What the interval of the gain is of, so that nobody takes it for one over splits.
            "interval": {
                "over": "validation rows",
                "rows": len(self.truth),
                "splits": 1,
                "seeds": 1,
                "width": compared["high"] - compared["low"],
            },
            "not_measured": self.missing,
            "scratch": self.from_scratch,
            "baseline_rows": len(self.rows),
            "training_rows": len(own_rows(self.prepared)),
        }

    def _price(self, head: TrainedHead, report: Mapping[str, Any], name: str) -> dict[str, Any]:
        from headstock.finetune.reading import preprocessed

        backbone, split = self.prepared.backbone, self.prepared.split
        rows = preprocessed(
            backbone.open_preprocessor(),
            self.prepared.head_type.reads,
            self.prepared.dataset.inputs,
            split.validation[:_LOOKED_AT],
        )
        own = form_of_run(self.catalogue, backbone, self.prepared.recipe.head.tap, self.trained, head)
        return price(self.catalogue, report, backbone, company(backbone, rows), own, name)

    def _groups(self, scoring: Scoring, answers: dict[str, Array]) -> dict[str, Any] | None:
        column = self.asked.group_by
        if column is None:
            return None
        cells = self.prepared.table.column(column, "--group-by")
        groups = [group_of(cells[row]) for row in self.prepared.split.validation]
        base = PROBE if PROBE in answers else scoring.guess
        labels = self.prepared.targets.labels
        parts = {
            part: group_metrics(groups, answers[who], self.truth, labels)
            if self.task == "classification"
            else group_figures(groups, self._score(scoring, answers[who]))
            for part, who in (("of_base", base), ("of_model", CHOSEN))
        }
        return {"column": column, "figure": scoring.figure, "base": base, **parts}


def own_rows(prepared: Prepared) -> Ints:
    """Places of the training rows whose label is not a teacher's answer."""
    lesson = prepared.lesson
    if lesson is None:
        return np.arange(len(prepared.split.train), dtype=np.int64)
    return np.flatnonzero(lesson.labelled[list(prepared.split.train)]).astype(np.int64)


def _flat(outputs: Values) -> Array:
    from headstock.finetune.values import flat

    return flat(outputs)
