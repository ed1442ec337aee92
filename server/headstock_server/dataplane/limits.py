"""How much one request may ask for; every limit is checked before it costs memory or time."""

from __future__ import annotations

from dataclasses import dataclass

from headstock.errors import InvalidInput

MIB = 1 << 20


class LimitExceeded(InvalidInput):
    """The request is larger than this server accepts; sending it again does not help, sending less does."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps on one request."""

    message_bytes: int = 16 * MIB
    """Encoded request, after decompression."""
    inputs: int = 64
    """Input tensors, and raw contents."""
    outputs: int = 64
    """Requested outputs."""
    parameters: int = 64
    """Parameters of the request, and of each tensor."""
    elements: int = MIB
    """Elements of typed contents over all inputs: a byte on the wire can become 36 in memory."""
    fields: int = 64 * 1024
    """Fields of the message, unknown ones and elements that are not packed included: looking at a million of them would
    hold up everybody else for half a second."""
    dims: int = 64
    """Axes of a shape, over all inputs of the request."""
    rows: int = 1024
    """Rows (first axis) of one request."""
    text_bytes: int = MIB
    """Bytes of all texts, or rows of tables, of one request; the preprocessing has a limit of its own for each."""
    decoded_bytes: int = 256 * MIB
    """Bytes of what all encoded images or recordings of one request become: silence and plain colours shrink by a
    thousand and more. The preprocessing has a limit of its own for each."""
    name_length: int = 256
    """Characters of a model name or version."""
    id_length: int = 256
    """Characters of the request id, which the response echoes."""

    def check_model(self, name: str, version: str) -> None:
        """Raise `InvalidInput` for a model name or version that cannot be one."""
        if not name:
            raise InvalidInput("the request names no model; expected model_name")
        if ":" in name:
            raise InvalidInput(
                f"model name {name[:80]!r} holds a colon; expected the name alone, and the version beside it",
                fix=f"model_name {name.partition(':')[0][:80]!r}, model_version {name.partition(':')[2][:80]!r}",
            )
        for what, text in (("model name", name), ("model version", version)):
            if len(text) > self.name_length or not text.isprintable():
                raise InvalidInput(
                    f"{what} {text[:40]!r} is not allowed; expected at most {self.name_length} printable characters"
                )

    def check_count(self, what: str, count: int, cap: int) -> None:
        """Raise `LimitExceeded` if `count` is above `cap`."""
        if count > cap:
            raise LimitExceeded(f"the request holds {count} {what}; expected at most {cap}")
