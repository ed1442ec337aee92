"""Request parameters that have a meaning; others are refused, for ignoring one would answer another question."""

from __future__ import annotations

import time
from collections.abc import Mapping

from headstock.errors import InvalidInput, Unsupported
from headstock_server.dataplane.messages import ParameterValue

KNOWN = (
    "timeout",
    "priority",
    "sequence_id",
    "sequence_start",
    "sequence_end",
    "headers",
    "binary_data_output",
    "triton_enable_empty_final_response",
    "licence",
)
"""`timeout` in microseconds bounds the wait. `priority` 1 is the highest, then 2 and 3; the default, 0, is the lowest,
and so is every larger number. Sequences are refused unless empty. `headers` and `binary_data_output` change nothing.
`triton_enable_empty_final_response` asks for an answer without tensors where the last answer is not known to be
the last when it is sent; here every request has exactly one answer, which says itself that it is the final one.
`licence` true asks for the licence verdict and what it obliges to, as parameters of the answer."""

_RESERVED = "triton_"
_EMPTY_FINAL = "triton_enable_empty_final_response"
_FLAGS = (_EMPTY_FINAL, "licence")


def deadline_of(parameters: Mapping[str, ParameterValue], deadline: float | None) -> float | None:
    """The earlier of the call's deadline and its `timeout`, in monotonic seconds; None for neither.

    Raises `InvalidInput` for a parameter that is not known or has the wrong type, `Unsupported` for sequences.
    """
    for key, value in parameters.items():
        _check(key, value)
    timeout = parameters.get("timeout", 0)
    if not timeout:
        return deadline
    wanted = time.monotonic() + int(timeout) / 1e6
    return wanted if deadline is None else min(deadline, wanted)


def priority_of(parameters: Mapping[str, ParameterValue]) -> int:
    """The request's priority, for parameters that `deadline_of` has checked; 0 without one."""
    return int(parameters.get("priority", 0))


def wants_licence(parameters: Mapping[str, ParameterValue]) -> bool:
    """True if the answer should say what the licences allow and ask for."""
    return parameters.get("licence") is True


def _check(key: str, value: ParameterValue) -> None:
    if key in _FLAGS:
        if not isinstance(value, bool):
            raise InvalidInput(f"parameter {key!r} is {value!r}; expected true or false")
        return
    if key.startswith(_RESERVED):
        raise InvalidInput(f"parameter {key[:80]!r} is reserved by the protocol; expected one of {list(KNOWN)}")
    if key not in KNOWN:
        raise InvalidInput(f"parameter {key[:80]!r} is not known; expected one of {list(KNOWN)}")
    if key in ("timeout", "priority") and not _is_count(value):
        raise InvalidInput(f"parameter {key!r} is {value!r}; expected an integer of 0 or more, below 2**64")
    if key.startswith("sequence_") and value not in (0, "", "0", False):
        raise Unsupported(f"parameter {key!r} is {value!r}, but no model here keeps state between requests")


def _is_count(value: ParameterValue) -> bool:
    # JSON has integers of any size; no clock and no line does.
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64
