"""From a torch module to one ONNX file with named taps, and the checks that the file must pass to be admitted."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstock.errors import FailedPrecondition, HeadstockError, PluginError
from headstock.preprocess.spec import Array
from headstock.records import Tap, TensorSpec

if TYPE_CHECKING:
    import torch

OPSET = 20
"""The newest operator set whose kernels exist on every provider that is served."""

# Not fused: on the CPU the fused MiniLM measured 0.93 to 1.14 times the plain one's time, slower where batches are.
_DOMAINS = ("", "ai.onnx", "com.microsoft")
_TAP = "tap::"
_AXES = ("batch", "length", "width", "depth")


def export_graph(
    module: torch.nn.Module,
    inputs: Sequence[TensorSpec],
    taps: Sequence[Tap],
    example: Mapping[str, Array],
    path: Path,
) -> None:
    """Write `module` as one self-contained ONNX file whose inputs and outputs are `inputs` and `taps`, in order.

    `example` are real inputs whose sizes differ on every varying axis (the exporter would take equal or single
    sizes for fixed ones). The same module gives the same bytes with the same versions. Raises `PluginError` when the
    module does not do what its family declares, `HeadstockError` when it cannot be exported.
    """
    import torch

    feeds = {spec.name: torch.from_numpy(example[spec.name]) for spec in inputs}
    check_forward(module, feeds, taps)
    _forget_recurrent_kernels()
    dynamic = {s.name: {a: torch.export.Dim.DYNAMIC for a, n in enumerate(s.shape) if n == -1} for s in inputs}
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                module,
                (),
                kwargs=feeds,
                dynamo=True,
                opset_version=OPSET,
                external_data=False,
                dynamic_shapes=dynamic,
                output_names=[f"{_TAP}{tap.name}" for tap in taps],
                verbose=False,
            )
    except Exception as error:
        first_line = str(error).strip().partition("\n")[0]
        raise HeadstockError(
            f"the backbone cannot be exported to ONNX: {type(error).__name__}: {first_line}"
        ) from error
    if program is None:
        raise HeadstockError("the exporter returned nothing; this is a bug")
    model = program.model_proto
    _strip(model)
    _name_taps(model.graph, taps)
    _name_axes(model, inputs, taps)
    path.write_bytes(model.SerializeToString(deterministic=True))


def export_recurrent(module: torch.nn.Module, example: Mapping[str, torch.Tensor], outputs: Sequence[str]) -> bytes:
    """A module with state in and out as one ONNX file of the fixed shapes of `example`; inputs in its order.

    Raises `HeadstockError` when it cannot be exported.
    """
    import torch

    _forget_recurrent_kernels()
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                module,
                tuple(example.values()),
                dynamo=True,
                opset_version=OPSET,
                external_data=False,
                input_names=list(example),
                output_names=list(outputs),
                verbose=False,
            )
    except Exception as error:
        first_line = str(error).strip().partition("\n")[0]
        raise HeadstockError(
            f"{type(module).__name__} cannot be exported to ONNX: {type(error).__name__}: {first_line}"
        ) from error
    if program is None:
        raise HeadstockError("the exporter returned nothing; this is a bug")
    model = program.model_proto
    _strip(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def check_forward(module: torch.nn.Module, feeds: Mapping[str, torch.Tensor], taps: Sequence[Tap]) -> None:
    """Run the module once; raises `PluginError` unless it returns its taps by name, in order, in FP32."""
    import torch

    with torch.no_grad():
        outputs = module(**feeds)
    names = [tap.name for tap in taps]
    if not isinstance(outputs, dict) or list(outputs) != names:
        found = list(outputs) if isinstance(outputs, dict) else type(outputs).__name__
        raise PluginError(f"{type(module).__name__} returned {found}; its family declares a dict of the taps {names}")
    for tap in taps:
        shape, dtype = tuple(outputs[tap.name].shape), outputs[tap.name].dtype
        fits = len(shape) == len(tap.shape) and all(w in (-1, n) for w, n in zip(tap.shape, shape, strict=True))
        if not fits or dtype != torch.float32:
            raise PluginError(f"tap {tap.name!r} is {dtype} {list(shape)}; its family declares FP32 {list(tap.shape)}")


def admit_graph(path: Path, inputs: Sequence[TensorSpec], taps: Sequence[Tap]) -> None:
    """Refuse a graph that is not valid ONNX, not in one file, uses unknown operators or has other inputs or outputs.

    Raises `FailedPrecondition`.
    """
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    outside = sorted({t.name for t in _tensors(model.graph) if t.data_location == onnx.TensorProto.EXTERNAL})
    if outside:
        raise FailedPrecondition(f"the graph keeps weights outside its file ({outside[:3]}); expected one file")
    try:
        onnx.checker.check_model(model, full_check=False)
    except onnx.checker.ValidationError as error:
        first_line = str(error).strip().partition("\n")[0]
        raise FailedPrecondition(f"the graph is not valid ONNX: {first_line}") from error
    domains = sorted({i.domain for i in model.opset_import} | {n.domain for n in _nodes(model.graph)})
    unknown = [d for d in domains if d not in _DOMAINS]
    if unknown:
        raise FailedPrecondition(f"the graph uses operators of {unknown}; expected only ai.onnx and com.microsoft")
    for what, values, expected in (
        ("inputs", model.graph.input, [i.name for i in inputs]),
        ("outputs", model.graph.output, [t.name for t in taps]),
    ):
        if (found := [v.name for v in values]) != expected:
            raise FailedPrecondition(f"the graph has {what} {found}; expected {expected}")


def _forget_recurrent_kernels() -> None:
    """Make the exporter look up its kernels of recurrent layers again.

    torch 2.13 swaps them for the time of one export and leaves what it resolved in the operator's dispatch cache: the
    second network with an LSTM in a process would be unrolled over its example, its length fixed.
    """
    import torch

    for operator in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
        cache = getattr(getattr(torch.ops.aten, operator).input, "_dispatch_cache", None)
        if cache is not None:
            cache.clear()


def _nodes(graph: Any) -> Iterator[Any]:
    """Every node, those of branches and loops included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in _nodes(graph):
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from inner.initializer


def _strip(model: Any) -> None:
    # The exporter writes stack traces with this machine's paths into every node.
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    # Shapes of inner values hold the exporter's own symbols; ONNX Runtime infers them again.
    del graph.value_info[:]


def _name_taps(graph: Any, taps: Sequence[Tap]) -> None:
    """Give the outputs their taps' names, and inner values that have such a name another one.

    The exporter names inner values after torch's operators, so a tap called `mean` can meet a `mean` in the middle.
    """
    names = {tap.name: f"inner::{tap.name}" for tap in taps} | {f"{_TAP}{tap.name}": tap.name for tap in taps}
    for value in (*graph.output, *graph.initializer):
        value.name = names.get(value.name, value.name)
    for node in _nodes(graph):
        for slots in (node.input, node.output):
            slots[:] = [names.get(name, name) for name in slots]


def _name_axes(model: Any, inputs: Sequence[TensorSpec], taps: Sequence[Tap]) -> None:
    """Give the varying axes of inputs and outputs readable names; an axis shared with an input keeps its name."""
    known: dict[str, str] = {}
    for value, spec in zip(model.graph.input, inputs, strict=True):
        for axis, (dim, size) in enumerate(zip(value.type.tensor_type.shape.dim, spec.shape, strict=True)):
            if size == -1:
                symbol, name = dim.dim_param, _AXES[axis] if axis < len(_AXES) else f"axis{axis}"
                dim.dim_param = known[symbol] = known.get(symbol, name)
    for value, tap in zip(model.graph.output, taps, strict=True):
        for axis, (dim, size) in enumerate(zip(value.type.tensor_type.shape.dim, tap.shape, strict=True)):
            # The exporter writes the traced size on axes that vary (an LSTM's time): the family's word counts.
            if size == -1:
                dim.dim_param = "batch" if axis == 0 else known.get(dim.dim_param, f"{tap.name}_axis{axis}")
            else:
                dim.dim_value = size


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter: it logs missing optional packages and warns about its own internals on every call."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
