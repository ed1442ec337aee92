"""Names every value of a graph by what computes it, so that two graphs show what they have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any


def fingerprints(model: Any) -> dict[str, str]:
    """Value name to hex digest of all that decides the value: operators, attributes, constants, inputs by name.

    Values of two graphs with equal digests are the same function of the same inputs, whatever the graphs call them.
    A node with a branch or a loop is like no node of another graph.
    """
    from onnx import numpy_helper

    found = {"": ""}
    for value in model.graph.input:
        found[value.name] = _digest(["input", value.name])
    for tensor in model.graph.initializer:
        found[tensor.name] = _constant(numpy_helper.to_array(tensor))
    for number, node in enumerate(model.graph.node):
        nested = any(a.HasField("g") or a.graphs for a in node.attribute)
        own = f"{id(model)}.{number}" if nested else ""
        attributes = sorted(_attribute(a) for a in node.attribute)
        parts = [node.domain, node.op_type, own, *attributes, *(found[name] for name in node.input)]
        for place, output in enumerate(node.output):
            if output:
                found[output] = _digest([*parts, str(place)])
    return found


def _attribute(attribute: Any) -> str:
    from onnx import numpy_helper

    # A tensor's name says nothing of its values.
    if attribute.HasField("t"):
        return f"{attribute.name}={_constant(numpy_helper.to_array(attribute.t))}"
    return f"{attribute.name}={attribute.SerializeToString(deterministic=True).hex()}"


def _constant(array: Any) -> str:
    return _digest([array.dtype.str, str(array.shape), hashlib.sha256(array.tobytes()).hexdigest()])


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
