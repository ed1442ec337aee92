"""Cuts two backbones where they part: what is the same in both becomes one stem, the rest an upper part of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstock.errors import HeadstockError
from headstock.graph import Graph
from headstock.preprocess import Preprocessor, Row
from headstock.stem.extract import canonical, needed, part
from headstock.stem.fingerprint import fingerprints

LEAST_SHARE = 0.10
"""Smallest share of a backbone's weights that is worth a session of its own."""
MOST_VALUES = 4
"""Most values that may pass from a stem to the upper parts."""
_TRIES = 4

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Parts:
    """ONNX files of a stem and of the two upper parts that stand on it."""

    stem: Path
    child: Path
    parent: Path
    values: tuple[str, ...]
    """Outputs of the stem, inputs of the upper parts."""
    share: float
    """Share of the child's constants that the stem holds, counted in numbers."""


def cut(child: Path, parent: Path, preprocessor: Preprocessor, rows: Sequence[Row], folder: Path) -> Parts | None:
    """Write the stem of two graphs and their upper parts into `folder`; None where they share too little, or too
    many values would have to pass.

    `rows` are samples that show which values belong to rows: only those can pass, as an upper part runs for some of
    the stem's rows. What follows from no weights, a mask for example, is computed again above.
    """
    import onnx

    whole, other = (_Whole(onnx.load(str(path))) for path in (child, parent))
    if whole.model.functions or list(whole.model.opset_import) != list(other.model.opset_import):
        return None
    names = {digest: name for name, digest in reversed(other.fingerprints.items())}
    refused: set[str] = set()
    batches = [preprocessor.collate(rows[:2]), preprocessor.collate(rows[2:5])]
    for _ in range(_TRIES):
        passing = whole.passing(names, refused)
        if not 0 < len(passing) <= MOST_VALUES:
            return None
        # In the order of the parent, whose other children name them so too.
        passing.sort(key=lambda value: whole.fingerprints[value])
        outputs = {names[d]: f"stem.{d[:16]}" for d in (whole.fingerprints[value] for value in passing)}
        stem = folder / "stem.onnx"
        _write(canonical(other.model, other.fingerprints, outputs), stem)
        seen = _seen(stem, batches, list(outputs.values()))
        if seen is None:
            return None
        loose = {v for v, n in zip(passing, outputs.values(), strict=True) if not _of_rows(seen[n], batches)}
        if not loose:
            break
        refused |= loose
    else:
        return None
    infos = {name: _info(name, seen[name], batches, whole.model.graph.input) for name in outputs.values()}
    share = _numbers(onnx.load(str(stem)).graph) / max(1, _numbers(whole.model.graph))
    if share < LEAST_SHARE:
        return None
    paths = []
    for name, which, own in (
        ("upper", whole, passing),
        ("parent-upper", other, [names[whole.fingerprints[value]] for value in passing]),
    ):
        given = {value: infos[n] for value, n in zip(own, outputs.values(), strict=True)}
        path = folder / f"{name}.onnx"
        _write(part(which.model, which.model.graph.output, given), path)
        paths.append(path)
    return Parts(stem, paths[0], paths[1], tuple(outputs.values()), share)


class _Whole:
    """A graph with what its values are made of."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.fingerprints = fingerprints(model)
        self._weighted = _weighted(model)

    def passing(self, known: Mapping[str, str], refused: set[str]) -> list[str]:
        """Values that the other graph, whose fingerprints are `known`, has too, and that all else follows from."""

        def given(value: str) -> bool:
            return value in self._weighted and value not in refused and self.fingerprints[value] in known

        _, spared = needed(self.model, [o.name for o in self.model.graph.output], given)
        return sorted(spared)


def _weighted(model: Any) -> set[str]:
    """Values that follow from weights: floating point constants of more than one number."""
    from onnx import TensorProto

    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
    found = {t.name for t in model.graph.initializer if t.data_type in floats and np.prod(list(t.dims)) > 1}
    for node in model.graph.node:
        if any(name in found for name in node.input):
            found.update(output for output in node.output if output)
    return found


def _seen(stem: Path, batches: Sequence[Arrays], outputs: Sequence[str]) -> dict[str, list[npt.NDArray[Any]]] | None:
    """The passing values of each batch; None if the stem does not run, because one is no FP32 tensor for example."""
    try:
        graph = Graph(stem)
        found = [graph.run(feeds, outputs) for feeds in batches]
    except HeadstockError:
        return None
    return {name: [values[i] for values in found] for i, name in enumerate(outputs)}


def _rows(feeds: Arrays) -> int:
    return len(next(iter(feeds.values())))


def _of_rows(arrays: Sequence[npt.NDArray[Any]], batches: Sequence[Arrays]) -> bool:
    return all(a.ndim > 0 and len(a) == _rows(feeds) for a, feeds in zip(arrays, batches, strict=True))


def _info(name: str, arrays: Sequence[npt.NDArray[Any]], batches: Sequence[Arrays], inputs: Any) -> Any:
    """The value as an input; axes that vary are named as the inputs' axes that vary with them."""
    from onnx import TensorProto, helper

    known: dict[tuple[int, ...], str] = {}
    for value in inputs:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_param:
                known.setdefault(tuple(feeds[value.name].shape[axis] for feeds in batches), dim.dim_param)
    shape: list[int | str] = []
    for axis, sizes in enumerate(zip(*(a.shape for a in arrays), strict=True)):
        same = len(set(sizes)) == 1 and axis > 0
        shape.append(sizes[0] if same else known.get(sizes) or f"{name}.{axis}")
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _numbers(graph: Any) -> int:
    return sum(int(np.prod(list(tensor.dims))) for tensor in graph.initializer)


def _write(model: Any, path: Path) -> None:
    path.write_bytes(model.SerializeToString(deterministic=True))
