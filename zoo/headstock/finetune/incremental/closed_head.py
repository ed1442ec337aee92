"""A head in closed form with all that updating it needs, as one safetensors blob beside its parameters."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from headstock.digest import Digest, canonical_json
from headstock.errors import Corrupt, InvalidInput
from headstock.finetune.incremental.solve import Solver, solve
from headstock.finetune.incremental.statistics import Floats, Statistics
from headstock.hookspecs import LinearForm

ROLE = "statistics"
"""The blob's role among the head artefact's files."""
_KEY = "headstock"


class About(BaseModel):
    """What decides the head besides its rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    solver: Solver
    penalty: float
    seed: int
    backbone: str
    """Name that the backbone was asked for by."""
    labels: tuple[str, ...]
    """Class names in index order; empty for a regression."""
    columns: dict[str, str]
    """Role to column, as new rows are read."""
    unused: tuple[str, ...] = ()
    """Columns that are no part of a table's row."""
    options: dict[str, bool | int | float | str] = {}


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Rows of one side, known by the digest of their input."""

    samples: tuple[Digest, ...]
    targets: Floats
    """[n] class index or number."""

    def places(self, wanted: Collection[Digest]) -> list[int]:
        """Rows whose input is among `wanted`."""
        return [row for row, sample in enumerate(self.samples) if sample in wanted]

    def only(self, rows: Sequence[int]) -> Part:
        """These rows."""
        return Part(tuple(self.samples[row] for row in rows), self.targets[list(rows)])

    def plus(self, other: Part) -> Part:
        """The rows of both."""
        return Part(self.samples + other.samples, np.concatenate([self.targets, other.targets]))


@dataclass(frozen=True, slots=True, eq=False)
class ClosedHead:
    """Statistics, the rows that they are sums over, and the rows that validate."""

    about: About
    statistics: Statistics
    trained: Part
    validation: Part
    features: npt.NDArray[np.float32]
    """[n, width] of the validation rows."""

    @classmethod
    def fit(
        cls,
        about: About,
        trained: Part,
        features: npt.NDArray[np.float32],
        validation: Part,
        held: npt.NDArray[np.float32],
    ) -> ClosedHead:
        """From scratch: `features` of the `trained` rows, `held` of those that validate."""
        statistics = Statistics.of(features, encoded(trained.targets, about.labels))
        return cls(about, statistics, trained, validation, held)

    def form(self) -> LinearForm:
        """The head's weights."""
        return solve(self.statistics, self.about.solver, self.about.penalty)

    def adding(self, part: Part, features: npt.NDArray[np.float32], labels: tuple[str, ...]) -> ClosedHead:
        """With more rows; `labels` are the old ones in their order, then new ones."""
        statistics = self.statistics.widened(len(labels)) if labels else self.statistics
        return replace(
            self,
            about=self.about.model_copy(update={"labels": labels}),
            statistics=statistics.plus(Statistics.of(features, encoded(part.targets, labels))),
            trained=self.trained.plus(part),
        )

    def erasing(self, rows: Sequence[int], features: npt.NDArray[np.float32], held: Sequence[int]) -> ClosedHead:
        """Without these training `rows`, whose `features` are given, and these validation rows `held`.

        A class that loses its last row is gone, with its validation rows. Raises `InvalidInput` if too little is left.
        """
        gone, taken, out = set(rows), self.trained.only(rows), set(held)
        trained = self.trained.only([r for r in range(len(self.trained.samples)) if r not in gone])
        kept = [r for r in range(len(self.validation.samples)) if r not in out]
        statistics = self.statistics.minus(Statistics.of(features, encoded(taken.targets, self.about.labels)))
        shrunk = replace(
            self,
            statistics=statistics,
            trained=trained,
            validation=self.validation.only(kept),
            features=self.features[kept],
        )
        shrunk = shrunk._without_empty_classes() if self.about.labels else shrunk
        _require_left(shrunk)
        return shrunk

    def _without_empty_classes(self) -> ClosedHead:
        alive = sorted({int(target) for target in self.trained.targets})
        number = {old: new for new, old in enumerate(alive)}
        kept = [r for r, target in enumerate(self.validation.targets) if int(target) in number]

        def renumbered(part: Part) -> Part:
            return replace(part, targets=np.array([number[int(t)] for t in part.targets], np.float64))

        return replace(
            self,
            about=self.about.model_copy(update={"labels": tuple(self.about.labels[i] for i in alive)}),
            statistics=self.statistics.narrowed(alive),
            trained=renumbered(self.trained),
            validation=renumbered(self.validation.only(kept)),
            features=self.features[kept],
        )

    def is_of_the_rows_of(self, other: ClosedHead) -> bool:
        """True if both are sums over the same inputs with the same targets, in any order."""

        def rows(head: ClosedHead) -> list[tuple[str, float]]:
            return sorted(zip(head.trained.samples, head.trained.targets.tolist(), strict=True))

        return self.about == other.about and rows(self) == rows(other)

    def to_bytes(self) -> bytes:
        """The blob; equal bytes for equal heads."""
        from safetensors.numpy import save

        return save(
            {
                "gram": self.statistics.gram,
                "cross": np.ascontiguousarray(self.statistics.cross),
                "trained.samples": _packed(self.trained.samples),
                "trained.targets": self.trained.targets,
                "validation.samples": _packed(self.validation.samples),
                "validation.targets": self.validation.targets,
                "validation.features": np.ascontiguousarray(self.features),
            },
            {_KEY: canonical_json(self.about.model_dump(mode="json")).decode()},
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> ClosedHead:
        """Inverse of `to_bytes`; raises `Corrupt` for anything else."""
        from safetensors.numpy import load

        try:
            length = int.from_bytes(data[:8], "little")
            about = About.model_validate_json(json.loads(data[8 : 8 + length])["__metadata__"][_KEY])
            tensors = load(data)
            return cls(
                about,
                Statistics(tensors["gram"], tensors["cross"]),
                Part(_unpacked(tensors["trained.samples"]), tensors["trained.targets"]),
                Part(_unpacked(tensors["validation.samples"]), tensors["validation.targets"]),
                tensors["validation.features"],
            )
        except (ValueError, KeyError) as error:
            raise Corrupt(f"the head's statistics cannot be read: {error}", fix="headstock verify") from error


def encoded(targets: Floats, labels: Sequence[str]) -> Floats:
    """Targets [n] as [n, out]: one-hot for classes, one column for numbers."""
    return np.eye(len(labels))[targets.astype(np.int64)] if labels else targets[:, None]


def _require_left(head: ClosedHead) -> None:
    labels = head.about.labels
    if len(head.trained.samples) < 2 or (labels and len(labels) < 2) or not head.validation.samples:
        raise InvalidInput(
            f"this would leave {len(head.trained.samples)} training rows, {len(head.validation.samples)} validation "
            "rows" + (f" and the classes {list(labels)}" if labels else ""),
            fix="headstock remove the model instead, or erase fewer rows",
        )


def _packed(samples: Sequence[Digest]) -> npt.NDArray[np.uint8]:
    data = bytes.fromhex("".join(sample.removeprefix("sha256:") for sample in samples))
    return np.frombuffer(data, np.uint8).reshape(len(samples), 32)


def _unpacked(rows: npt.NDArray[np.uint8]) -> tuple[Digest, ...]:
    return tuple(Digest(f"sha256:{bytes(row).hex()}") for row in rows)
