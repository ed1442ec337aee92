"""A family's checkpoint as the server would run it: exported, measured against torch, and row by row in company."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstock.backbone.export import admit_graph, export_graph
from headstock.backbone.identity import identify
from headstock.backbone.isolation import certify
from headstock.backbone.parity import TapParity, measure_parity
from headstock.backbone.samples import Samples
from headstock.graph import Graph
from headstock.hookspecs import BackboneFamily, SourceFiles
from headstock.preprocess import Preprocessor, Row, open_preprocessor
from headstock.records import BackboneIdentity, Certificate

if TYPE_CHECKING:
    import torch

MOST_ROWS = 8
"""Largest batch that `difference_by_batch_size` tries."""


@dataclass(frozen=True, slots=True)
class Exported:
    """One backbone in both forms, with what was measured of it."""

    module: torch.nn.Module
    identity: BackboneIdentity
    preprocessor: Preprocessor
    graph: Graph
    rows: Sequence[Row]
    parity: Mapping[str, TapParity]
    """Graph against torch, by tap."""
    certificate: Certificate

    def difference_by_batch_size(self) -> dict[int, float]:
        """Largest absolute difference, over taps and rows, of a row alone and in a batch of 1 to `MOST_ROWS`."""
        taps = [tap.name for tap in self.identity.taps]
        alone = [self.graph.run(self.preprocessor.collate([row]), taps) for row in self.rows]
        found = {}
        for size in range(1, MOST_ROWS + 1):
            together = self.graph.run(self.preprocessor.collate(self.rows[:size]), taps)
            found[size] = max(
                float(np.abs(together[tap][row] - alone[row][tap][0]).max())
                for tap in range(len(taps))
                for row in range(size)
            )
        return found


def export(
    family: BackboneFamily, files: SourceFiles, raw: Sequence[Any], extreme: Sequence[Any], workdir: Path
) -> Exported:
    """Load, export, admit and measure a checkpoint, on at least ten samples `raw` and one that is `extreme`.

    Raises what pulling it would raise; unlike a pull it judges nothing but what stops it from going on.
    """
    module = family.load(files)
    spec = family.preprocess(files)
    identity = identify(family, files, module, spec)
    kept = family.files(files)
    preprocessor = open_preprocessor(spec, {role: kept[role] for role in spec.files})
    samples = Samples(tuple(preprocessor.rows(raw)), tuple(preprocessor.rows(extreme)))
    path = workdir / "graph.onnx"
    export_graph(module, identity.inputs, identity.taps, preprocessor.collate(samples.ordinary[1:4]), path)
    admit_graph(path, identity.inputs, identity.taps)
    graph = Graph(path)
    return Exported(
        module=module,
        identity=identity,
        preprocessor=preprocessor,
        graph=graph,
        rows=samples.ordinary,
        parity=measure_parity(module, graph, preprocessor, samples, identity.taps),
        certificate=certify(graph, identity, preprocessor, samples),
    )
