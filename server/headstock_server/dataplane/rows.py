"""From a request's tensors to rows for the scheduler: which inputs, which datatypes, which shapes."""

from __future__ import annotations

from collections.abc import Sequence

from headstock.errors import InvalidInput
from headstock.preprocess import Preprocessor, Row
from headstock.records import TensorSpec
from headstock_server.dataplane.limits import LimitExceeded, Limits
from headstock_server.dataplane.messages import Array, InferRequest, InputTensor


class Inputs:
    """What one backbone takes, looked up once: this is on every request's way."""

    def __init__(self, preprocessor: Preprocessor) -> None:
        """The inputs of that preprocessing."""
        self._preprocessor = preprocessor
        self._raw = preprocessor.raw_input
        self._ready = {spec.name: spec for spec in preprocessor.tensor_inputs}

    def rows(self, request: InferRequest, limits: Limits) -> list[Row]:
        """One row per first-axis slice of the request's inputs; raises `InvalidInput` that says what was expected."""
        inputs = request.inputs
        if len(inputs) == 1 and inputs[0].name == self._raw.name:
            return self._preprocessor.rows(_raw_samples(inputs[0], self._raw, limits))
        return self._preprocessor.rows_from_tensors(self._ready_tensors(inputs, limits))

    def _ready_tensors(self, inputs: Sequence[InputTensor], limits: Limits) -> dict[str, Array]:
        tensors: dict[str, Array] = {}
        for tensor in inputs:
            if tensor.name in tensors:
                raise InvalidInput(f"input {tensor.name[:80]!r} is there twice")
            if isinstance(tensor.values, list):
                raise self._unexpected(inputs)
            spec = self._ready.get(tensor.name)
            if spec is not None:
                _check_spec(tensor, spec)
            tensors[tensor.name] = tensor.values
        if not self._ready.keys() <= tensors.keys():
            raise self._unexpected(inputs)
        _check_rows(inputs[0].name, inputs[0].shape[0] if inputs[0].shape else 0, limits)
        return tensors

    def _unexpected(self, inputs: Sequence[InputTensor]) -> InvalidInput:
        ready = " and ".join(f"{spec.name!r} {spec.datatype}" for spec in self._ready.values())
        return InvalidInput(
            f"the request's inputs are {[t.name[:80] for t in inputs]}; "
            f"expected either {self._raw.name!r} {self._raw.datatype}, or {ready}"
        )


def raw_size(request: InferRequest) -> int:
    """Bytes of text (or other raw input) in the request; 0 for ready tensors."""
    return sum(len(v) for t in request.inputs if isinstance(t.values, list) for v in t.values)


def _raw_samples(tensor: InputTensor, raw: TensorSpec, limits: Limits) -> Sequence[bytes]:
    if tensor.datatype != raw.datatype or not isinstance(tensor.values, list):
        raise InvalidInput(f"input {tensor.name!r} has datatype {tensor.datatype!r}; expected {raw.datatype}")
    shape = tensor.shape
    # A column [n, 1] is how clients write a batch of scalars whose model has a batch axis of its own.
    if len(shape) != 1 and not (len(shape) == 2 and shape[1] == 1):
        raise InvalidInput(f"input {tensor.name!r} has shape {list(shape)}; expected [rows] or [rows, 1]")
    _check_rows(tensor.name, shape[0], limits)
    size = sum(map(len, tensor.values))
    if size > limits.text_bytes:
        raise LimitExceeded(
            f"input {tensor.name!r} holds {size} bytes of text; expected at most {limits.text_bytes} in one request",
            fix="send fewer rows at a time",
        )
    return tensor.values


def _check_spec(tensor: InputTensor, spec: TensorSpec) -> None:
    if tensor.datatype != spec.datatype:
        raise InvalidInput(f"input {tensor.name!r} has datatype {tensor.datatype!r}; expected {spec.datatype}")
    fits = len(tensor.shape) == len(spec.shape) and all(
        want in (-1, got) for got, want in zip(tensor.shape, spec.shape, strict=True)
    )
    if not fits:
        raise InvalidInput(
            f"input {tensor.name!r} has shape {list(tensor.shape)}; expected {list(spec.shape)}, where -1 is any size"
        )


def _check_rows(name: str, rows: int, limits: Limits) -> None:
    if rows < 1:
        raise InvalidInput(f"input {name[:80]!r} has no rows; expected at least 1 along the first axis")
    if rows > limits.rows:
        raise LimitExceeded(
            f"the request has {rows} rows; expected at most {limits.rows}",
            fix="send the rows in several requests",
        )
