"""Requests and answers as plain data: what the transports hand to the data plane and get back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Values: TypeAlias = "Array | list[bytes]"
"""A numeric tensor, or the elements of a BYTES tensor in row-major order."""
ParameterValue: TypeAlias = bool | int | float | str


@dataclass(slots=True)
class InputTensor:
    """One input of a request, decoded."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Values
    """An array of `shape`, or as many `bytes` as the shape has elements."""


@dataclass(slots=True)
class RequestedOutput:
    """An output that the caller wants."""

    name: str
    classification: int = 0
    """How many best classes to answer instead of the tensor; 0 answers the tensor."""


@dataclass(slots=True)
class InferRequest:
    """One batch of rows for one model."""

    model: str
    version: str
    """Empty (alias production, else newest), a number, or an alias."""
    id: str
    inputs: Sequence[InputTensor]
    outputs: Sequence[RequestedOutput] = ()
    """Empty asks for all."""
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    deadline: float | None = None
    """Monotonic seconds after which the answer is of no use."""
    tenant: str = ""
    """Who asks, as the caller says; `Tenants` and the licence policy know what that is worth."""


@dataclass(slots=True)
class OutputTensor:
    """One output of an answer."""

    name: str
    datatype: str
    values: Array
    """Object arrays of `bytes` for BYTES."""


@dataclass(slots=True)
class InferResponse:
    """The answer to one request, and which version gave it."""

    model: str
    version: str
    id: str
    outputs: list[OutputTensor]
    parameters: dict[str, ParameterValue] = field(default_factory=dict)
    licence_warning: str = ""
    """What the caller should know about the model's licences; printable ASCII."""
