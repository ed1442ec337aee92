"""Counts what a ModelInferRequest holds before it is parsed: 4 MiB of empty inputs would become 500 MiB of objects.

The scan walks tags and lengths only. It counts every occurrence of a field, as the parser merges them, so that the two
never see a request differently.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from headstock.errors import InvalidInput
from headstock_server.dataplane.limits import LimitExceeded, Limits


class _Field(NamedTuple):
    """A field to count, and what it may hold."""

    counter: str
    """Name of the cap in `Limits`; empty counts nothing."""
    message: _Message | None = None
    packed: int = 0
    """Bytes of a packed element; 0 for what is not packed, 1 for varints, which end at a byte below 128."""
    local: bool = False
    """Counted for each message alone instead of over the whole request."""


_Message: TypeAlias = "dict[int, _Field]"

_VARINTS, _FLOATS, _DOUBLES = (_Field("elements", packed=size) for size in (1, 4, 8))
_PARAMETERS = _Field("parameters", local=True)
_CONTENTS: _Message = {
    **dict.fromkeys(range(1, 6), _VARINTS),
    6: _FLOATS,
    7: _DOUBLES,
    8: _Field("elements"),
}
_INPUT: _Message = {3: _Field("dims", packed=1), 4: _PARAMETERS, 5: _Field("", _CONTENTS)}
_REQUEST: _Message = {
    4: _PARAMETERS,
    5: _Field("inputs", _INPUT),
    6: _Field("outputs", {2: _PARAMETERS}),
    7: _Field("inputs_raw"),
}

_ANY = _Field("fields")
"""Whatever takes a turn of the scan: while it walks, nobody else is served."""

_CONTINUED = bytes(range(128, 256))
_PLAIN = 0x80


def check(data: bytes, limits: Limits) -> None:
    """Raise `LimitExceeded` if the request holds more than `limits` allow, `InvalidInput` if it is malformed."""
    if len(data) > limits.message_bytes:
        raise LimitExceeded(f"the request has {len(data)} bytes; expected at most {limits.message_bytes}")
    budget = {
        "inputs": limits.inputs,
        "inputs_raw": limits.inputs,
        "outputs": limits.outputs,
        "elements": limits.elements,
        "dims": limits.dims,
        "parameters": limits.parameters,
        "fields": limits.fields,
    }
    try:
        _walk(data, 0, len(data), _REQUEST, budget, limits)
    except IndexError:
        raise malformed() from None


def malformed() -> InvalidInput:
    """The error for bytes that are no ModelInferRequest."""
    return InvalidInput("the request is not a valid inference.ModelInferRequest message")


def _walk(data: bytes, at: int, end: int, message: _Message, budget: dict[str, int], limits: Limits) -> None:
    parameters = limits.parameters
    while at < end:
        tag = data[at]
        at += 1
        if tag >= _PLAIN:
            tag, at = _varint(data, at - 1)
        kind = tag & 7
        field = message.get(tag >> 3)
        if kind == 2:
            size = data[at]
            at += 1
            if size >= _PLAIN:
                size, at = _varint(data, at - 1)
            stop = at + size
            if stop > end:
                raise malformed()
            if field is None or not (field.packed or field.local):
                _spend(budget, _ANY, 1, limits)
            if field is not None:
                if field.local:
                    parameters -= 1
                    if parameters < 0:
                        raise LimitExceeded(f"the request holds more than {limits.parameters} parameters at one level")
                elif field.counter:
                    _spend(budget, field, _elements(data, at, stop, field.packed), limits)
                if field.message is not None:
                    _walk(data, at, stop, field.message, budget, limits)
            at = stop
            continue
        if kind == 0:
            while data[at] >= _PLAIN:
                at += 1
            at += 1
        elif kind == 1:
            at += 8
        elif kind == 5:
            at += 4
        else:
            # Groups are in no message of ours, and skipping them would need recursion that a sender controls.
            raise malformed()
        _spend(budget, _ANY, 1, limits)
        if field is not None and field.packed:
            _spend(budget, field, 1, limits)
    if at != end:
        raise malformed()


def _spend(budget: dict[str, int], field: _Field, count: int, limits: Limits) -> None:
    left = budget[field.counter] = budget[field.counter] - count
    if left < 0:
        what = {"inputs_raw": "raw_input_contents", "elements": "elements of typed contents", "dims": "axes"}
        cap = limits.inputs if field.counter == "inputs_raw" else getattr(limits, field.counter)
        raise LimitExceeded(
            f"the request holds more than {cap} {what.get(field.counter, field.counter)}",
            fix="send raw_input_contents" if field.counter == "elements" else None,
        )


def _elements(data: bytes, start: int, stop: int, packed: int) -> int:
    if packed == 0:
        return 1
    if packed == 1:
        return len(data[start:stop].translate(None, _CONTINUED))
    return (stop - start) // packed


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < _PLAIN:
            return value, at
        shift += 7
        if shift > 63:
            raise malformed()
