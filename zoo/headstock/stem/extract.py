"""Takes a part of a graph out of it, as a graph of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any


def needed(model: Any, wanted: Iterable[str], given: Callable[[str], bool]) -> tuple[set[str], set[str]]:
    """Values that must be computed for `wanted`, and those that `given` spares: each stands before nothing else."""
    producers = {output: node for node in model.graph.node for output in node.output if output}
    computed: set[str] = set()
    spared: set[str] = set()
    open_values = list(wanted)
    while open_values:
        value = open_values.pop()
        if value in computed or value in spared or value not in producers:
            continue
        if given(value):
            spared.add(value)
            continue
        computed.add(value)
        open_values += _read(producers[value])
    return computed, spared


def part(model: Any, outputs: Iterable[Any], given: Mapping[str, Any]) -> Any:
    """The graph that makes `outputs` (value infos) of inputs and of `given`: value name to the input that brings it.

    An output that is given is passed on. Of the model's inputs those remain that something reads.
    """
    from onnx import helper

    outputs = list(outputs)
    computed, spared = needed(model, [o.name for o in outputs], given.__contains__)
    nodes = [node for node in model.graph.node if any(output in computed for output in node.output)]
    names = {value: given[value].name for value in spared}
    passed = [helper.make_node("Identity", [names[o.name]], [o.name]) for o in outputs if o.name in spared]
    copies = []
    for node in nodes:
        copy = type(node)()
        copy.CopyFrom(node)
        copy.input[:] = [names.get(name, name) for name in copy.input]
        copies.append(copy)
    read = {name for node in nodes for name in _read(node)}
    kept = [value for value in model.graph.input if value.name in read]
    constants = [tensor for tensor in model.graph.initializer if tensor.name in read]
    inputs = [given[value] for value in sorted(spared, key=list(given).index)]
    graph = helper.make_graph([*copies, *passed], "part", [*kept, *inputs], outputs, constants)
    return _wrapped(graph, model)


def canonical(model: Any, fingerprints: Mapping[str, str], outputs: Mapping[str, str]) -> Any:
    """The graph that makes the values `outputs` (value to new name), equal in every byte for equal functions.

    Names and order follow from the fingerprints; all inputs of the model stay, so that it takes what the model takes.
    """
    from onnx import TensorProto, helper

    computed, _ = needed(model, outputs, lambda value: False)
    names = {value.name: value.name for value in model.graph.input} | {"": ""}
    constants: dict[str, Any] = {}
    for tensor in model.graph.initializer:
        names[tensor.name] = name = fingerprints[tensor.name][:24]
        copy = constants.setdefault(name, type(tensor)())
        copy.CopyFrom(tensor)
        copy.name = name
    levels = dict.fromkeys(names, 0)
    nodes: dict[str, tuple[int, Any]] = {}
    for node in model.graph.node:
        level = 1 + max((levels[name] for name in node.input), default=0)
        for output in node.output:
            levels[output] = level
            names[output] = outputs.get(output) or fingerprints[output][:24]
        if any(output in computed for output in node.output):
            copy = type(node)()
            copy.CopyFrom(node)
            copy.name = ""
            copy.input[:] = [names[name] for name in node.input]
            copy.output[:] = [names[name] for name in node.output]
            nodes.setdefault(copy.output[0], (level, copy))
    ordered = [node for _, (_, node) in sorted(nodes.items(), key=lambda item: (item[1][0], item[0]))]
    read = {name for node in ordered for name in node.input}
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs.values()]
    kept = [constants[name] for name in sorted(constants) if name in read]
    return _wrapped(helper.make_graph(ordered, "stem", list(model.graph.input), infos, kept), model)


def _read(node: Any) -> list[str]:
    """What a node reads, its branches included."""
    names = list(node.input)
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs):
            for node_inside in inner.node:
                names += _read(node_inside)
    return [name for name in names if name]


def _wrapped(graph: Any, model: Any) -> Any:
    from onnx import helper

    made = helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)
    made.producer_name = "headstock"
    return made
