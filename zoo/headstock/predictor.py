"""Prediction in this process, without a server: the same preprocessing, graph, head and postprocessing that serve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstock import postprocess
from headstock.graph import Device, Graph
from headstock.names import Reference
from headstock.preprocess import Row
from headstock.records import TensorSpec, Version
from headstock.servable import ServableModel, load_linear, load_model

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue

Array = npt.NDArray[Any]

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
        self._tap = model.head.tap
        self._backbone = model.backbone
        self._preprocessor = model.backbone.open_preprocessor()
        self._graph = Graph(model.backbone.graph, device=device, threads=threads)
        self._head: Graph | tuple[Array, Array]
        if model.head.form == "linear":
            self._head = load_linear(model.parameters)
        else:
            self._head = Graph(model.parameters, device=device, threads=threads)

    @classmethod
    def open(cls, catalogue: Catalogue, reference: Reference, *, device: Device = "cpu", threads: int = 1) -> Predictor:
        """The version that `reference` means now; raises `NotFound`, `Corrupt`, `DigestMismatch`."""
        return cls(load_model(catalogue, catalogue.version(reference)), device=device, threads=threads)

    def predict(self, samples: Sequence[Any]) -> Prediction:
        """Answers for raw samples (texts); raises `InvalidInput` naming the sample."""
        rows = self._preprocessor.rows(samples)
        raw = np.empty((len(rows), 0), dtype=np.float32)
        for indices in self._passes(rows):
            outputs = self._run([rows[i] for i in indices])
            if not raw.shape[1]:
                raw = np.empty((len(rows), outputs.shape[1]), dtype=np.float32)
            raw[indices] = outputs
        answers = postprocess.apply(self._spec, raw) if rows else {}
        return Prediction(self.version, answers, tuple(i for i, row in enumerate(rows) if row.truncated))

    def _run(self, rows: Sequence[Row]) -> npt.NDArray[np.float32]:
        features = self._graph.run(self._preprocessor.collate(rows), [self._tap])[0]
        if isinstance(self._head, Graph):
            return self._head.run({self._head.inputs[0]: features}, self._head.outputs)[0]
        weight, bias = self._head
        result: npt.NDArray[np.float32] = features @ weight + bias
        return result

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
