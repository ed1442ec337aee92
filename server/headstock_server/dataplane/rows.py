"""From a request's tensors to rows for the scheduler: which inputs, which datatypes, which shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headstock.errors import InvalidInput
from headstock.preprocess import Preprocessor, Row
from headstock.preprocess.reading import raw_inputs, read_rows
from headstock.preprocess.spec import MediaReader
from headstock.records import Reads, TensorSpec
from headstock_server.dataplane.limits import LimitExceeded, Limits
from headstock_server.dataplane.messages import Array, InferRequest, InputTensor

_INLINE_BYTES = 2000
"""Texts of this size in all take about a millisecond to tokenise, which is less than a thread's hand-over costs the
requests behind it; longer ones would hold up the event loop."""


class Inputs:
    """What one backbone takes, looked up once: this is on every request's way."""

    def __init__(self, preprocessor: Preprocessor, reads: Reads = "any") -> None:
        """The inputs of that preprocessing for a head that reads `reads`."""
        self._preprocessor = preprocessor
        self._reads = reads
        self._raw = {spec.name: spec for spec in raw_inputs(preprocessor, reads)}
        self._ready = {spec.name: spec for spec in preprocessor.tensor_inputs}
        self._media = preprocessor if isinstance(preprocessor, MediaReader) else None

    def rows(self, request: InferRequest, limits: Limits) -> list[Row]:
        """One row per first-axis slice of the request's inputs; raises `InvalidInput` that says what was expected."""
        inputs = request.inputs
        if inputs and all(tensor.name in self._raw for tensor in inputs):
            samples = self._samples(inputs, limits)
            if self._media is not None:
                return _decoded(self._media, samples[0], limits)
            return read_rows(self._preprocessor, self._reads, samples)
        if self._reads != "any":
            raise self._unexpected(inputs)
        return self._preprocessor.rows_from_tensors(self._ready_tensors(inputs, limits))

    def quick(self, request: InferRequest) -> bool:
        """True if making the rows costs less than handing them to another thread."""
        raw = raw_size(request)
        # A few hundred bytes can be a picture of fifty million pixels.
        return not raw or (raw <= _INLINE_BYTES and self._media is None)

    def _samples(self, inputs: Sequence[InputTensor], limits: Limits) -> list[Sequence[bytes]]:
        """The raw inputs' elements, in the order that the preprocessing takes them."""
        if len(inputs) != len(self._raw) or len({tensor.name for tensor in inputs}) != len(self._raw):
            raise self._unexpected(inputs)
        found = {tensor.name: _raw_samples(tensor, self._raw[tensor.name], limits) for tensor in inputs}
        if self._media is None:
            _check_text(found, limits)
        return [found[name] for name in self._raw]

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
        raw, ready = (
            " and ".join(f"{spec.name!r} {spec.datatype}" for spec in specs.values())
            for specs in (self._raw, self._ready)
        )
        # Answers that point into a text need the text; ready tensors do not have it.
        expected = f"either {raw}, or {ready}" if self._reads == "any" else raw
        return InvalidInput(f"the request's inputs are {[t.name[:80] for t in inputs]}; expected {expected}")


def row_count(request: InferRequest, limits: Limits) -> int:
    """Rows that the request says it has, by the shape of its first input; at least 1.

    Raises `LimitExceeded`: what no queue will ever take must not be told to come back.
    """
    shape = request.inputs[0].shape if request.inputs else ()
    if not shape or shape[0] < 1:
        return 1
    _check_rows(request.inputs[0].name, shape[0], limits)
    return shape[0]


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
    return tensor.values


def _check_text(samples: Mapping[str, Sequence[bytes]], limits: Limits) -> None:
    size = sum(len(value) for values in samples.values() for value in values)
    if size > limits.text_bytes:
        raise LimitExceeded(
            f"input {' and '.join(map(repr, samples))} holds {size} bytes of text; "
            f"expected at most {limits.text_bytes} in one request",
            fix="send fewer rows at a time",
        )


def _decoded(reader: MediaReader, samples: Sequence[bytes], limits: Limits) -> list[Row]:
    """One row per encoded sample, decoded one after the other until the limit is reached."""
    rows: list[Row] = []
    size = 0
    for index, sample in enumerate(samples):
        row = reader.row(sample, index)
        size += sum(tensor.nbytes for tensor in row.tensors.values())
        if size > limits.decoded_bytes:
            raise LimitExceeded(
                f"the first {index + 1} of {len(samples)} samples become {size} bytes when they are decoded; "
                f"expected at most {limits.decoded_bytes} in one request",
                fix="send fewer rows at a time",
            )
        rows.append(row)
    return rows


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
