"""Between the JSON and binary forms of inference over HTTP and the data plane's plain requests and answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headstock.errors import HeadstockError, InvalidInput
from headstock_server.dataplane import tensors
from headstock_server.dataplane.limits import LimitExceeded, Limits
from headstock_server.dataplane.messages import (
    InferRequest,
    InferResponse,
    InputTensor,
    OutputTensor,
    ParameterValue,
    RequestedOutput,
)
from headstock_server.transport.rest_endpoint import parsed_json

_NUMBERS: dict[str, set[type]] = {"BOOL": {bool}, "BYTES": {str}, "FP32": {int, float}, "FP64": {int, float}}
_ONLY_BINARY = ("FP16", "BF16")


@dataclass(frozen=True, slots=True)
class Form:
    """How the caller wants the answer's tensors."""

    binary: bool = False
    """For outputs that say nothing themselves."""
    outputs: Mapping[str, bool] = field(default_factory=dict)

    def of(self, output: OutputTensor) -> bool:
        """True for raw bytes behind the JSON, false for numbers in it."""
        return self.outputs.get(output.name, self.binary)


def decode(body: bytes, header: int | None, model: str, version: str, limits: Limits) -> tuple[InferRequest, Form]:
    """The request in a body whose first `header` bytes are JSON (None: all of it) and the rest binary tensors.

    Raises `InvalidInput` or `LimitExceeded`.
    """
    if header is not None and not 0 <= header <= len(body):
        raise InvalidInput(f"Inference-Header-Content-Length is {header}; the body has {len(body)} bytes")
    document = _parse(body if header is None else body[:header], limits)
    _known("the request", document, ("id", "parameters", "inputs", "outputs"))
    entries = _list("inputs", document.get("inputs", []))
    wanted = _list("outputs", document.get("outputs", []))
    limits.check_count("inputs", len(entries), limits.inputs)
    limits.check_count("outputs", len(wanted), limits.outputs)
    inputs, at = [], len(body) if header is None else header
    for entry in entries:
        tensor, at = _input(entry, body, at, limits)
        inputs.append(tensor)
    if at != len(body):
        raise InvalidInput(f"the body has {len(body)} bytes; its inputs end at byte {at}")
    identifier = document.get("id", "")
    if not isinstance(identifier, str):
        raise InvalidInput("the id is not a string")
    parameters = _parameters("the request", document, limits)
    outputs = [_output(entry, limits) for entry in wanted]
    form = Form(bool(parameters.get("binary_data_output", False)), {o.name: b for o, b in outputs if b is not None})
    return InferRequest(model, version, identifier, inputs, [o for o, _ in outputs], parameters), form


def encode(response: InferResponse, form: Form) -> tuple[bytes, int | None]:
    """The body, and how much of it is JSON where binary tensors follow."""
    outputs, tail = [], []
    for output in response.outputs:
        described: dict[str, Any] = {
            "name": output.name,
            "datatype": output.datatype,
            "shape": list(output.values.shape),
        }
        if form.of(output):
            tail.append(tensors.encode(output.values, output.datatype))
            described["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            described["data"] = _data(output)
        outputs.append(described)
    document: dict[str, Any] = {
        "model_name": response.model,
        "model_version": response.version,
        "outputs": outputs,
    }
    if response.id:
        document["id"] = response.id
    if response.parameters:
        document["parameters"] = response.parameters
    try:
        head = json.dumps(document, allow_nan=False).encode()
    except ValueError:
        raise HeadstockError(
            "an output is not a finite number, which JSON cannot say", fix='"binary_data_output": true'
        ) from None
    return b"".join([head, *tail]), len(head) if tail else None


def _parse(text: bytes, limits: Limits) -> dict[str, Any]:
    # Every value but the first in a list or object follows one of these, and an empty list costs 30 times its text.
    if text.count(b",") + text.count(b"[") + text.count(b"{") > 2 * limits.elements:
        raise LimitExceeded(
            f"the request's JSON holds more than {limits.elements} elements", fix="send binary tensor data"
        )
    try:
        document = parsed_json(text, infinite=False)
    except ValueError:
        raise InvalidInput("the body is not JSON of an inference request") from None
    return _object("the body", document)


def _input(entry: Any, body: bytes, at: int, limits: Limits) -> tuple[InputTensor, int]:
    document = _object("an input", entry)
    name, datatype = (_text(f"{key} of an input", document.get(key)) for key in ("name", "datatype"))
    owner = f"input {name[:80]!r}"
    _known(owner, document, ("name", "datatype", "shape", "parameters", "data"))
    shape = tuple(_list(f"the shape of {owner}", document.get("shape")))
    if any(type(size) is not int for size in shape):
        raise InvalidInput(f"the shape of {owner} holds something else than integers")
    limits.check_count("axes", len(shape), limits.dims)
    parameters = _parameters(owner, document, limits)
    size = parameters.pop("binary_data_size", None)
    if parameters:
        raise InvalidInput(f"{owner} has parameter {next(iter(parameters))[:80]!r}, which is not known")
    if size is None:
        values = _flat(owner, datatype, document.get("data"))
        typed: list[Any] = [v.encode() for v in values] if datatype == "BYTES" else values
        return InputTensor(name, datatype, shape, tensors.decode_typed(name, datatype, shape, typed)), at
    if "data" in document or type(size) is not int or not 0 <= size <= len(body) - at:
        raise InvalidInput(
            f"{owner} has binary_data_size {size!r} and {len(body) - at} bytes are left; expected its size in bytes, "
            "and no 'data' beside it"
        )
    return InputTensor(name, datatype, shape, tensors.decode(name, datatype, shape, body[at : at + size])), at + size


def _flat(owner: str, datatype: str, data: Any) -> list[Any]:
    """Elements of nested lists in row-major order, all of the datatype's JSON type."""
    if datatype in _ONLY_BINARY:
        raise InvalidInput(f"{owner}: {datatype} has no JSON form", fix="send it as binary tensor data")
    elements = _list(f"the data of {owner}", data)
    while elements and all(type(element) is list for element in elements):
        elements = [element for inner in elements for element in inner]
    if not set(map(type, elements)) <= _NUMBERS.get(datatype, {int}):
        raise InvalidInput(f"the data of {owner} holds something else than {datatype[:40]}")
    return elements


def _output(entry: Any, limits: Limits) -> tuple[RequestedOutput, bool | None]:
    document = _object("an output", entry)
    name = _text("the name of an output", document.get("name"))
    owner = f"output {name[:80]!r}"
    _known(owner, document, ("name", "parameters"))
    parameters = _parameters(owner, document, limits)
    binary, classes = parameters.pop("binary_data", None), parameters.pop("classification", 0)
    if parameters:
        raise InvalidInput(f"{owner} has parameter {next(iter(parameters))[:80]!r}, which is not known")
    if not isinstance(binary, bool | None) or type(classes) is not int or classes < 0:
        raise InvalidInput(
            f"{owner} has binary_data {binary!r} and classification {classes!r}; expected true or false, and an "
            "integer of 0 or more"
        )
    return RequestedOutput(name, classes), binary


def _parameters(owner: str, document: Mapping[str, Any], limits: Limits) -> dict[str, ParameterValue]:
    parameters = _object(f"the parameters of {owner}", document.get("parameters", {}))
    limits.check_count("parameters", len(parameters), limits.parameters)
    for key, value in parameters.items():
        if not isinstance(value, bool | int | float | str):
            raise InvalidInput(f"parameter {key[:80]!r} of {owner} is neither a number, a string nor a truth value")
    return dict(parameters)


def _data(output: OutputTensor) -> list[Any]:
    flat: list[Any] = output.values.ravel().tolist()
    # Labels are text; bytes that are not have a binary form.
    return [element.decode(errors="replace") for element in flat] if output.datatype == "BYTES" else flat


def _known(owner: str, document: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    for key in document:
        if key not in keys:
            raise InvalidInput(f"{owner} has {key[:80]!r}, which is not known; expected any of {list(keys)}")


def _object(what: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(f"{what} is not a JSON object")
    return value


def _list(what: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidInput(f"{what} is missing or not a JSON list")
    return value


def _text(what: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"the {what} is missing or not a string".replace("the the", "the"))
    return value
