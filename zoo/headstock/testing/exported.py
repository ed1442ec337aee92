"""A family's checkpoint as the server would run it: exported, measured against torch, and row by row in company."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstock.backbone.export import admit_graph, export_graph
from headstock.backbone.identity import identify
from headstock.backbone.isolation import certify
from headstock.backbone.parity import TapParity, measure_parity
from headstock.backbone.samples import Samples, samples_for
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
    return _export(family, files, workdir, lambda p: Samples(tuple(p.rows(raw)), tuple(p.rows(extreme))))


def export_as_pulled(family: BackboneFamily, files: SourceFiles, workdir: Path) -> Exported:
    """As `export`, on the samples that a pull tries a checkpoint on. The graph lies in `workdir` as `graph.onnx`."""
    return _export(family, files, workdir, samples_for)


def _export(
    family: BackboneFamily, files: SourceFiles, workdir: Path, sampled: Callable[[Preprocessor], Samples]
) -> Exported:
    module, identity, preprocessor = _loaded(family, files)
    samples = sampled(preprocessor)
    path = workdir / "graph.onnx"
    _write(module, identity, preprocessor, samples, path)
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


def export_only(family: BackboneFamily, files: SourceFiles, path: Path) -> Path:
    """Load and export a checkpoint to `path`, and return it."""
    module, identity, preprocessor = _loaded(family, files)
    _write(module, identity, preprocessor, samples_for(preprocessor), path)
    return path


def _loaded(family: BackboneFamily, files: SourceFiles) -> tuple[torch.nn.Module, BackboneIdentity, Preprocessor]:
    module = family.load(files)
    spec = family.preprocess(files)
    kept = family.files(files)
    return module, identify(family, files, module, spec), open_preprocessor(spec, {r: kept[r] for r in spec.files})


def _write(
    module: torch.nn.Module, identity: BackboneIdentity, preprocessor: Preprocessor, samples: Samples, path: Path
) -> None:
    export_graph(module, identity.inputs, identity.taps, preprocessor.collate(samples.ordinary[1:4]), path)
    admit_graph(path, identity.inputs, identity.taps)
