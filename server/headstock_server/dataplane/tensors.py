"""Tensors as the Open Inference Protocol writes them: raw bytes to numpy and back, every bound checked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from struct import Struct

import numpy as np

from headstock.errors import InvalidInput, Unsupported
from headstock_server.dataplane.messages import Array, Values

DTYPES: dict[str, np.dtype[np.generic]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
"""Datatypes that numpy has; BF16 and BYTES are handled by hand."""

DATATYPES = (*DTYPES, "BF16", "BYTES")

_LENGTH = Struct("<I")
_LARGEST = 1 << 58
"""Elements of the other axes up to which numpy takes a shape that holds none because one of its axes is 0."""


def element_count(name: str, shape: Sequence[int]) -> int:
    """Elements of a shape; Python integers, because numpy's product of [2**32, 2**32] is 0."""
    for size in shape:
        if not 0 <= size < 1 << 63:
            raise InvalidInput(
                f"input {name[:80]!r} has shape {list(shape)[:16]}; expected sizes of 0 or more, below 2**63"
            )
    count = math.prod(shape)
    if count == 0 and math.prod(size or 1 for size in shape) > _LARGEST:
        raise InvalidInput(f"input {name[:80]!r} has shape {list(shape)[:16]}, which no tensor can have")
    return count


def decode(name: str, datatype: str, shape: tuple[int, ...], raw: bytes) -> Values:
    """The tensor in `raw`: a read-only view of it for numbers, a list of `bytes` for BYTES.

    Raises `InvalidInput` with both sizes if they disagree; nothing is allocated before that check.
    """
    count = element_count(name, shape)
    if datatype == "BYTES":
        return decode_bytes(name, count, raw)
    dtype = _wire_dtype(name, datatype)
    if len(raw) != count * dtype.itemsize:
        raise InvalidInput(
            f"input {name[:80]!r} holds {len(raw)} bytes; expected {count * dtype.itemsize} for {datatype} "
            f"of shape {list(shape)}"
        )
    if datatype == "BOOL" and max(raw, default=0) > 1:
        raise InvalidInput(f"input {name[:80]!r} holds a BOOL that is neither 0 nor 1")
    flat = np.frombuffer(raw, dtype=dtype)
    if datatype == "BF16":
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    return flat.reshape(shape)


def decode_bytes(name: str, count: int, raw: bytes) -> list[bytes]:
    """`count` elements, each a 4-byte length and that many bytes."""
    end = len(raw)
    if count * _LENGTH.size > end:
        raise InvalidInput(
            f"input {name[:80]!r} holds {end} bytes; expected at least {count * _LENGTH.size}: each of its {count} "
            "BYTES elements has a 4-byte length before it"
        )
    elements, at = [], 0
    for index in range(count):
        start = at + _LENGTH.size
        if start > end:
            raise InvalidInput(f"input {name[:80]!r} ends at byte {end}, before the length of element {index}")
        at = start + _LENGTH.unpack_from(raw, start - _LENGTH.size)[0]
        if at > end:
            raise InvalidInput(
                f"element {index} of input {name[:80]!r} says it has {at - start} bytes; {end - start} remain"
            )
        elements.append(raw[start:at])
    if at != end:
        raise InvalidInput(f"input {name[:80]!r} holds {end} bytes; its {count} BYTES elements end at byte {at}")
    return elements


def decode_typed(name: str, datatype: str, shape: tuple[int, ...], values: Sequence[object]) -> Values:
    """The tensor in typed contents; the count is compared before anything is copied."""
    count = element_count(name, shape)
    if len(values) != count:
        raise InvalidInput(
            f"input {name[:80]!r} holds {len(values)} elements; expected {count} for shape {list(shape)}"
        )
    if datatype == "BYTES":
        return [bytes(v) for v in values]  # type: ignore[call-overload]
    dtype = _wire_dtype(name, datatype)
    try:
        return np.array(values, dtype=dtype).reshape(shape)
    except OverflowError as error:
        raise InvalidInput(f"input {name[:80]!r} holds a value that {datatype} cannot") from error


def encode(values: Array, datatype: str) -> bytes:
    """Little-endian row-major bytes of a tensor."""
    if datatype == "BYTES":
        return encode_bytes(values.ravel().tolist())
    return values.astype(DTYPES[datatype], copy=False).tobytes()


def encode_bytes(elements: Iterable[bytes]) -> bytes:
    """Each element with its 4-byte length before it."""
    pack = _LENGTH.pack
    return b"".join([part for element in elements for part in (pack(len(element)), element)])


def _wire_dtype(name: str, datatype: str) -> np.dtype[np.generic]:
    if datatype == "BF16":
        return np.dtype("<u2")
    dtype = DTYPES.get(datatype)
    if dtype is None:
        raise InvalidInput(
            f"input {name[:80]!r} has datatype {datatype[:40]!r}; expected one of {', '.join(DATATYPES)}"
        )
    return dtype


def typed_field(name: str, datatype: str) -> str:
    """The field of `InferTensorContents` that holds this datatype; FP16 and BF16 have none."""
    if datatype in ("FP16", "BF16"):
        raise Unsupported(f"input {name[:80]!r}: {datatype} has no typed contents; send raw_input_contents")
    _wire_dtype(name, "INT8" if datatype == "BYTES" else datatype)
    return _TYPED_FIELDS[datatype]


_TYPED_FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
