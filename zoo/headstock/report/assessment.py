"""The assessment of a trained classifier: comparisons, verdict, calibration, groups, curve and slices."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from headstock.digest import digest_json
from headstock.errors import HeadstockError, InvalidInput
from headstock.metrics import wilson
from headstock.report import baselines
from headstock.report.calibration import calibration
from headstock.report.groups import group_metrics
from headstock.report.slices import slice_metrics
from headstock.report.verdict import best, paired_gain

if TYPE_CHECKING:
    from headstock.data.table import Table
    from headstock.finetune.prepare import Prepared
    from headstock.finetune.training import Trained

Ints = npt.NDArray[np.int64]
Depth = Literal["none", "quick", "full"]

_MOST_ROWS = {"quick": 4_000, "full": 20_000}
_MOST_KEPT = 20_000
_MOST_GROUPS = 50
CHOSEN, PROBE, MAJORITY = "chosen strategy", "linear probe", "majority class"


@dataclass(frozen=True, slots=True)
class Assessment:
    """How much of a report to make, and for which groups."""

    depth: Depth = "quick"
    """`none` compares with nothing, so it has no verdict; `full` adds the learning curve and trains on more rows."""
    group_by: str | None = None
    """Column whose values are the groups."""

    def check(self, table: Table) -> None:
        """Raise `InvalidInput` before anything costs time if `table` cannot be grouped as asked."""
        if self.group_by is None:
            return
        values = {_group(cell) for cell in table.column(self.group_by, "--group-by")}
        if len(values) > _MOST_GROUPS:
            raise InvalidInput(
                f"column {self.group_by!r} of {table.name!r} has {len(values)} values; expected at most {_MOST_GROUPS}",
                fix="--group-by with a column of fewer values",
            )


def assess(prepared: Prepared, trained: Trained, outputs: npt.NDArray[Any], asked: Assessment) -> dict[str, Any]:
    """What the report says beyond metrics, as JSON values; `outputs` [validation rows, classes] are the model's.

    Heads that do not put rows into classes get their cost only, and `transfer` is None.
    """
    report: dict[str, Any] = {"depth": asked.depth, "transfer": None, "peak_memory_bytes": _peak_memory()}
    if asked.depth == "none" or prepared.head_type.task != "classification" or not len(outputs):
        return report
    return report | _Run(prepared, trained, asked).report(outputs)


class _Run:
    """One assessment: rows that the comparisons train on, and their answers on the validation rows."""

    def __init__(self, prepared: Prepared, trained: Trained, asked: Assessment) -> None:
        self.prepared, self.trained, self.asked = prepared, trained, asked
        self.kind, self.seed = prepared.backbone.spec.kind, prepared.recipe.seed
        self.train = prepared.train.values.astype(np.int64)
        self.truth = prepared.validation.values.astype(np.int64)
        most, rows = _MOST_ROWS[asked.depth], len(self.train)
        # One permutation, so that comparisons see the same rows and a second run the same ones again.
        chosen = np.random.default_rng(self.seed).permutation(rows)[:most]
        self.rows: Ints = np.sort(chosen).astype(np.int64)

    def report(self, outputs: npt.NDArray[Any]) -> dict[str, Any]:
        """All parts."""
        began = time.perf_counter()
        answers, missing, seconds = self._compare(outputs)
        ours, split = answers[CHOSEN], self.prepared.split
        validation = self._raw(split.validation)
        kept = len(ours) <= _MOST_KEPT
        return {
            "transfer": self._transfer(answers, missing, seconds),
            "calibration": calibration(outputs, self.truth, self.seed),
            "groups": self._groups(answers),
            "learning_curve": self._curve() if self.asked.depth == "full" else None,
            "slices": slice_metrics(self.kind, validation, ours == self.truth) if validation else None,
            "validation": {
                "rows": digest_json([self.prepared.dataset.samples[row] for row in split.validation]),
                "answers": ours.tolist() if kept else None,
            },
            "report_seconds": round(time.perf_counter() - began, 3),
        }

    def _compare(self, outputs: npt.NDArray[Any]) -> tuple[dict[str, Ints], dict[str, str], dict[str, float]]:
        guess = int(np.argmax(np.bincount(self.train)))
        answers = {MAJORITY: np.full(len(self.truth), guess, np.int64)}
        missing: dict[str, str] = {}
        seconds: dict[str, float] = {}
        for name, measure in self._measurements().items():
            began = time.perf_counter()
            try:
                answers[name] = measure()
            except ModuleNotFoundError as error:
                missing[name] = f"{error.name} is not installed"
            except HeadstockError as error:
                missing[name] = error.message
            else:
                seconds[name] = round(time.perf_counter() - began, 3)
        if self.prepared.recipe.strategy.initial != "random":
            missing["from scratch"] = "run the same recipe with --strategy scratch"
        answers[CHOSEN] = outputs.argmax(axis=-1).astype(np.int64)
        return answers, missing, seconds

    def _measurements(self) -> dict[str, Callable[[], Ints]]:
        return {baselines.NAMES.get(self.kind, "classical baseline"): self._classical, PROBE: self._probe}

    def _classical(self) -> Ints:
        split = self.prepared.split
        train = self._raw([split.train[row] for row in self.rows])
        return baselines.classical(self.kind, train, self.train[self.rows], self._raw(split.validation), self.seed)

    def _probe(self, rows: Ints | None = None) -> Ints:
        rows = self.rows if rows is None else rows
        train, validation = np.asarray(self.trained.probe_train), np.asarray(self.trained.probe_validation)
        return baselines.probe(train[rows], self.train[rows], validation)

    def _raw(self, rows: Sequence[int]) -> list[Any]:
        """The first raw input of rows, read in blocks as the data set asks for."""
        inputs, found = self.prepared.dataset.inputs, []
        for start in range(0, len(rows), inputs.block):
            found += inputs.read(rows[start : start + inputs.block])[0]
        return found

    def _transfer(self, answers: dict[str, Ints], missing: dict[str, str], seconds: dict[str, float]) -> dict[str, Any]:
        hits = {name: values == self.truth for name, values in answers.items()}
        # A probe and the chosen strategy saw the source; the others learned from the target data alone.
        target_only = {name: hit for name, hit in hits.items() if name not in (CHOSEN, PROBE)}
        against = best(target_only)
        gain = paired_gain(hits[CHOSEN], target_only[against])
        scores = [
            {
                **asdict(wilson("accuracy", int(hit.sum()), len(hit))),
                "name": name,
                "target_only": name in target_only,
                "seconds": seconds.get(name),
            }
            for name, hit in hits.items()
        ]
        complete = any(name != MAJORITY for name in target_only)
        return {
            # Beating a guess says nothing of transfer; losing to it does.
            "verdict": gain.word if complete or gain.word == "negative" else "not measured",
            "gain": gain.value,
            "low": gain.low,
            "high": gain.high,
            "method": "Bonett-Price",
            "against": against,
            "accuracies": scores,
            "not_measured": missing,
            "baseline_rows": len(self.rows),
            "training_rows": len(self.train),
        }

    def _groups(self, answers: dict[str, Ints]) -> dict[str, Any] | None:
        column = self.asked.group_by
        if column is None:
            return None
        cells = self.prepared.table.column(column, "--group-by")
        groups = [_group(cells[row]) for row in self.prepared.split.validation]
        base = PROBE if PROBE in answers else MAJORITY
        labels = self.prepared.targets.labels
        return {
            "column": column,
            "base": base,
            "of_base": group_metrics(groups, answers[base], self.truth, labels),
            "of_model": group_metrics(groups, answers[CHOSEN], self.truth, labels),
        }

    def _curve(self) -> list[dict[str, Any]] | None:
        counts = np.bincount(self.train)
        points, most = [], int(counts.max())
        for size in baselines.CURVE:
            if size > most:
                break
            rows = baselines.subsample(self.train, size, self.seed)
            try:
                right = self._probe(rows) == self.truth
            except ModuleNotFoundError:
                return None
            score = asdict(wilson("accuracy", int(right.sum()), len(right)))
            points.append({"per_class": size, "rows": len(rows), **score})
        return points


def _group(cell: Any) -> str:
    return "" if cell is None else str(cell)


def _peak_memory() -> int:
    """Bytes of resident memory at most, of the whole process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
