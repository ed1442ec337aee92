"""What a backbone asks of its device, as a pure function of the engine's settings."""

from __future__ import annotations

from collections.abc import Sequence

from headstock.preprocess import PreprocessSpec
from headstock.providers import DeviceOptions, ShapeRange
from headstock.records import TensorSpec
from headstock_server.engine.options import EngineOptions

MOST_ROWS = 256
"""Rows that a TensorRT engine is built for; it would be built again for more."""
_BEST_ROWS, _BEST_LENGTH = 32, 64


def device_options(
    options: EngineOptions, inputs: Sequence[TensorSpec], spec: PreprocessSpec, graph: str
) -> DeviceOptions:
    """Options for a session of `graph`, the digest of its file; `inputs` are all that the graph takes."""
    cache = options.engine_cache
    return DeviceOptions(
        gpu_memory=options.gpu_memory,
        cuda_graphs=options.cuda_graphs,
        engine_cache=None if cache is None else cache / graph[:16],
        shapes=shape_ranges(inputs, longest(spec)) if options.device == "tensorrt" else {},
        shared_arena=options.shared_arena,
        binding=options.binding,
    )


def most_rows(options: EngineOptions) -> int:
    """Rows of one pass at most."""
    return min(options.max_rows, MOST_ROWS) if options.device == "tensorrt" else options.max_rows


def longest(spec: PreprocessSpec) -> int | None:
    """The largest length of a row, where the preprocessing cuts at one."""
    found = spec.options.get("max_length")
    return found if isinstance(found, int) else None


def shape_ranges(inputs: Sequence[TensorSpec], most: int | None) -> dict[str, ShapeRange]:
    """The ranges of inputs whose first axis is the row and whose other open axes are lengths.

    Empty where a length has no maximum: an engine takes the ranges of all inputs or of none.
    """
    if most is None and any(-1 in spec.shape[1:] for spec in inputs):
        return {}

    def shape(spec: TensorSpec, rows: int, length: int) -> tuple[int, ...]:
        return (rows, *(length if size == -1 else size for size in spec.shape[1:]))

    top = most or 1
    return {
        spec.name: ShapeRange(
            shape(spec, 1, 1), shape(spec, _BEST_ROWS, min(_BEST_LENGTH, top)), shape(spec, MOST_ROWS, top)
        )
        for spec in inputs
    }
