"""Requests read from a file of JSON lines."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstock.errors import InvalidInput
from headstock.oip import open_inference_grpc_pb2 as oip
from headstock_server.bench.inputs import DTYPES, add


def recorded(metadata: Any, path: Path) -> list[bytes]:
    """Serialised requests for a model, one for each line of `path`: an object from input name to value.

    A value is a string, a number or nested lists of them; `{"b64": "..."}` is binary. A value with one axis less than
    the input gets a row axis. Raises `InvalidInput`, naming the line, for one that does not fit the model's inputs.
    """
    tensors = {tensor.name: tensor for tensor in metadata.inputs}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    requests = [_request(metadata.name, tensors, text, n) for n, text in enumerate(lines, 1) if text.strip()]
    if not requests:
        raise InvalidInput(f"{path.name!r} has no inputs; expected a JSON object a line", fix='{"text": "hello"}')
    return requests


def _request(model: str, tensors: Mapping[str, Any], text: str, number: int) -> bytes:
    try:
        row = json.loads(text)
        request = oip.ModelInferRequest(model_name=model)
        for name, value in row.items():
            add(request, tensors[name], _array(tensors[name], value))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"line {number} of the inputs, {text[:60]!r}, does not fit model {model!r}; "
            f"expected a JSON object with values for inputs of {sorted(tensors)}",
            fix="leave --input out: inputs are generated then",
        ) from error
    data: bytes = request.SerializeToString()
    return data


def _array(tensor: Any, value: Any) -> npt.NDArray[Any]:
    values = _bytes(value) if tensor.datatype == "BYTES" else np.array(value, DTYPES[tensor.datatype])
    return values[None] if values.ndim == len(tensor.shape) - 1 else values


def _bytes(value: Any) -> npt.NDArray[Any]:
    if isinstance(value, list):
        return np.stack([_bytes(item) for item in value])
    array = np.empty((), object)
    array[()] = base64.b64decode(value["b64"], validate=True) if isinstance(value, dict) else value.encode()
    return array
