"""From raw head outputs to the tensors that the caller asked for."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np

from headstock.errors import InvalidInput
from headstock.records import TensorSpec
from headstock_server.dataplane.messages import Array, OutputTensor, RequestedOutput


def check_outputs(outputs: Sequence[TensorSpec], requested: Sequence[RequestedOutput]) -> None:
    """Raise `InvalidInput` for an unknown or repeated output, or classes of what has none. Costs no inference."""
    specs = {spec.name: spec for spec in outputs}
    seen = set()
    for wanted in requested:
        spec = specs.get(wanted.name)
        if spec is None:
            close = get_close_matches(wanted.name, specs, n=1)
            raise InvalidInput(
                f"output {wanted.name[:80]!r} is not one of this model's; expected any of {list(specs)}",
                fix=close[0] if close else None,
            )
        if wanted.name in seen:
            raise InvalidInput(f"output {wanted.name!r} is requested twice")
        seen.add(wanted.name)
        if wanted.classification and not spec.labels:
            raise InvalidInput(
                f"output {wanted.name!r} has no classes; 'classification' is for "
                f"{[s.name for s in outputs if s.labels] or 'models with labels'}"
            )


def answers_of(
    outputs: Sequence[TensorSpec], requested: Sequence[RequestedOutput], tensors: dict[str, Array]
) -> list[OutputTensor]:
    """The requested outputs, in the order asked; all of them, in the model's order, if none was named."""
    if not requested:
        return [OutputTensor(spec.name, spec.datatype, tensors[spec.name]) for spec in outputs]
    specs = {spec.name: spec for spec in outputs}
    return [_answer(specs[wanted.name], wanted, tensors[wanted.name]) for wanted in requested]


def _answer(spec: TensorSpec, wanted: RequestedOutput, values: Array) -> OutputTensor:
    if not wanted.classification:
        return OutputTensor(spec.name, spec.datatype, values)
    return OutputTensor(spec.name, "BYTES", top_classes(values, spec.labels, wanted.classification))


def top_classes(scores: Array, labels: Sequence[str], count: int) -> Array:
    """The `count` best classes of [n, ..., classes], best first, as BYTES [n, ..., k] of `score:index:label`."""
    best = np.argsort(-scores, axis=-1, kind="stable")[..., :count]
    result = np.empty(best.shape, dtype=object)
    for place in np.ndindex(best.shape):
        index = int(best[place])
        result[place] = f"{scores[(*place[:-1], index)]:f}:{index}:{labels[index]}".encode()
    return result
