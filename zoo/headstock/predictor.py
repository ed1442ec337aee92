"""Prediction in this process, without a server: the same preprocessing, graph, head and postprocessing that serve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstock import postprocess
from headstock.adapter.adapted import AdaptedGraph
from headstock.errors import InvalidInput
from headstock.graph import Device, Graph
from headstock.names import Reference
from headstock.preprocess import Row
from headstock.preprocess.reading import raw_inputs, read_rows
from headstock.records import TensorSpec, Version
from headstock.servable import ServableModel, load_linear, load_model

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

_TOKENS = 256
"""Tokens in one pass: a CPU core gains nothing from more, and padding across distant lengths costs."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answers of one version, first axis the sample."""

    version: Version
    outputs: dict[str, Array]
    """By name, as `headstock.postprocess` makes them."""
    truncated: tuple[int, ...]
    """Indices of samples that were longer than the model reads and were cut."""


class Predictor:
    """One model version, loaded. Thread-safe."""

    def __init__(self, model: ServableModel, *, device: Device = "cpu", threads: int = 1) -> None:
        """Load a checked model."""
        self.version = model.version
        self.outputs: tuple[TensorSpec, ...] = postprocess.outputs(model.head.postprocess)
        self._spec = model.head.postprocess
        self._reads = postprocess.reads(self._spec)
        self._tap = model.backbone.identity.tap(model.head.tap)
        self._backbone = model.backbone
        self._preprocessor = model.backbone.open_preprocessor()
        self.inputs: tuple[TensorSpec, ...] = raw_inputs(self._preprocessor, self._reads)
        """The raw inputs; `predict` takes one sequence for each."""
        self._graph = (
            Graph(model.backbone.graph, device=device, threads=threads)
            if model.adapter is None
            else AdaptedGraph(model.adapter, device=device, threads=threads)
        )
        self._head: Graph | tuple[Array, Array]
        if model.head.form == "linear":
            self._head = load_linear(model.parameters)
        else:
            self._head = Graph(model.parameters, device=device, threads=threads)

    @classmethod
    def open(cls, catalogue: Catalogue, reference: Reference, *, device: Device = "cpu", threads: int = 1) -> Predictor:
        """The version that `reference` means now; raises `NotFound`, `Corrupt`, `DigestMismatch`."""
        return cls(load_model(catalogue, catalogue.version(reference)), device=device, threads=threads)

    def predict(self, *samples: Sequence[Any]) -> Prediction:
        """Answers for raw samples, one sequence for each of `inputs`: texts, or the bytes of images or recordings.

        All samples are in memory together once decoded. Raises `InvalidInput` naming the sample.
        """
        if len(samples) != len(self.inputs):
            names = [spec.name for spec in self.inputs]
            raise InvalidInput(f"{len(samples)} inputs are given; {self.version} takes {names}")
        rows = read_rows(self._preprocessor, self._reads, samples)
        raw: list[Floats] = [_NOTHING] * len(rows)
        for indices in self._passes(rows):
            for index, outputs in zip(indices, self._run([rows[i] for i in indices], indices), strict=True):
                raw[index] = outputs
        answers = self._answers(rows, raw) if rows else {}
        return Prediction(self.version, answers, tuple(i for i, row in enumerate(rows) if row.truncated))

    def _answers(self, rows: Sequence[Row], raw: list[Floats]) -> dict[str, Array]:
        contexts = None if self._reads == "any" else [row.extra for row in rows]
        each_its_own = postprocess.per_position(self._spec)
        return postprocess.apply(self._spec, raw if each_its_own else np.stack(raw), contexts)

    def _run(self, rows: Sequence[Row], indices: Sequence[int]) -> Iterator[Floats]:
        """Each row's raw outputs; a head sees the positions that are the row's own, and no padding."""
        features = self._graph.run(self._preprocessor.collate(rows), [self._tap.name])[0]
        for index, row, values in zip(indices, rows, features, strict=True):
            own = values[: self._tap.positions(row.steps)] if self._tap.ragged else values
            if not np.isfinite(own).all():
                raise InvalidInput(f"sample {index} has features that are not finite; the backbone cannot represent it")
            yield self._head_outputs(own)

    def _head_outputs(self, features: Floats) -> Floats:
        if isinstance(self._head, Graph):
            found: Floats = self._head.run({self._head.inputs[0]: features[None]}, self._head.outputs)[0][0]
            return found
        weight, bias = self._head
        # One row at a time, as a server does it: the bits do not depend on who else was asked about.
        outputs: Floats = np.matmul(np.ascontiguousarray(features), weight) + bias
        return outputs

    def _passes(self, rows: Sequence[Row]) -> Iterator[list[int]]:
        """Indices of rows that share a pass, near lengths together."""
        certificate = self._backbone.certificate
        alone = certificate is None or not certificate.shared
        equal = self._backbone.identity.padding == "equal-length"
        group: list[int] = []
        for index in sorted(range(len(rows)), key=lambda i: rows[i].length):
            # Lengths only grow, so the newcomer is what the whole pass would be padded to.
            length = rows[index].length
            full = group and (
                alone or (len(group) + 1) * length > _TOKENS or (equal and rows[group[0]].length != length)
            )
            if full:
                yield group
                group = []
            group.append(index)
        if group:
            yield group


_NOTHING: Floats = np.empty(0, np.float32)
