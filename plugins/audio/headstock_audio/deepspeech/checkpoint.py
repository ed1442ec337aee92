"""TensorFlow's V2 checkpoint files (`NAME.index` and `NAME.data-...-of-...`), read without TensorFlow.

The index is an SSTable (LevelDB's table format): blocks of keys that share prefixes, an index block of them, and a
footer. Its values are protocol buffers that say where in the data files a tensor's bytes lie. Checksums are compared.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstock.errors import Corrupt, InvalidInput, NotFound, Unsupported
from headstock_audio.deepspeech.crc32c import crc32c, unmasked

_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
_TRAILER = 5  # a byte for the compression, four for the checksum
_INDEX_LIMIT = 64 << 20
# tensorflow.DataType: the types that a network's weights and counters have.
_DTYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype("<f4"),
    2: np.dtype("<f8"),
    3: np.dtype("<i4"),
    9: np.dtype("<i8"),
}

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one tensor lies."""

    dtype: int
    """tensorflow.DataType."""
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    """Bytes."""
    checksum: int
    """CRC-32C of the bytes."""


class Checkpoint:
    """One checkpoint: names, and tensors on demand."""

    def __init__(self, prefix: Path) -> None:
        """Read the index of the checkpoint whose files begin with `prefix`.

        Raises `NotFound` without an index file, `Corrupt` for one that cannot be read, `Unsupported` for compressed
        or big-endian ones.
        """
        self.prefix = prefix
        path = prefix.with_name(prefix.name + ".index")
        if not path.is_file():
            raise NotFound(f"there is no checkpoint index {path.name!r}")
        if path.stat().st_size > _INDEX_LIMIT:
            raise Corrupt(f"checkpoint index {path.name!r} has {path.stat().st_size} bytes; expected far fewer")
        try:
            self._shards, self.entries = _read_index(path.read_bytes())
        except (IndexError, ValueError, struct.error) as error:
            raise Corrupt(f"{path.name!r} is no checkpoint index: {error}", fix="copy the file again") from error

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def read(self, name: str) -> Array:
        """The tensor `name`. Raises `NotFound`, `Unsupported` for its type, `Corrupt` for its bytes."""
        if name not in self.entries:
            raise NotFound(
                f"checkpoint {self.prefix.name!r} has no tensor {name!r}; it has {sorted(self.entries)[:12]}"
            )
        entry = self.entries[name]
        if entry.dtype not in _DTYPES:
            raise Unsupported(f"tensor {name!r} has TensorFlow's type {entry.dtype}; expected one of {list(_DTYPES)}")
        dtype = _DTYPES[entry.dtype]
        if math.prod(entry.shape) * dtype.itemsize != entry.size:
            raise Corrupt(f"tensor {name!r} has shape {list(entry.shape)} but {entry.size} bytes")
        path = self.prefix.with_name(f"{self.prefix.name}.data-{entry.shard:05d}-of-{self._shards:05d}")
        if not path.is_file():
            raise NotFound(f"tensor {name!r} lies in {path.name!r}, which is missing", fix="copy it beside the index")
        if path.stat().st_size < entry.offset + entry.size:
            raise Corrupt(
                f"{path.name!r} ends at byte {path.stat().st_size}, before tensor {name!r} does",
                fix="copy it again",
            )
        with path.open("rb") as file:
            file.seek(entry.offset)
            data = file.read(entry.size)
        if crc32c(data) != entry.checksum:
            raise Corrupt(f"tensor {name!r} in {path.name!r} holds other bytes than its checksum says")
        tensor: Array = np.frombuffer(data, dtype).reshape(entry.shape)
        return tensor


def _read_index(data: bytes) -> tuple[int, Mapping[str, Entry]]:
    """Number of data files, and entries by tensor name."""
    if len(data) < _FOOTER or struct.unpack("<Q", data[-8:])[0] != _MAGIC:
        raise ValueError("its last bytes are not those of a table")
    _, position = _handle(data, len(data) - _FOOTER)
    (offset, size), _ = _handle(data, position)
    shards, entries = 0, {}
    for _, where in _block(data, offset, size):
        (offset, size), _ = _handle(where, 0)
        for key, value in _block(data, offset, size):
            fields = dict(_fields(value))
            if key:
                entries[key.decode()] = _entry(fields)
            else:
                if fields.get(2, 0):
                    raise Unsupported("the checkpoint is big-endian; expected little-endian")
                shards = _number(fields, 1)
    if not 1 <= shards < 100_000:
        raise ValueError(f"it states {shards} data files")
    return shards, entries


def _entry(fields: Mapping[int, int | bytes]) -> Entry:
    if 7 in fields:
        raise Unsupported("the checkpoint holds partitioned variables; expected whole ones")
    sizes = []
    for number, dim in _fields(_bytes(fields, 2)):
        if number == 2 and isinstance(dim, bytes):
            sizes.append(_number(dict(_fields(dim)), 1))
    offset, size = _number(fields, 4), _number(fields, 5)
    checksum = unmasked(_number(fields, 6))
    return Entry(_number(fields, 1), tuple(sizes), _number(fields, 3), offset, size, checksum)


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block."""
    end = offset + size
    if end + _TRAILER > len(data):
        raise ValueError("a block lies behind its end")
    compression, checksum = struct.unpack_from("<BI", data, end)
    if compression:
        raise Unsupported(
            f"the checkpoint index is compressed (type {compression}); expected TensorFlow's uncompressed one"
        )
    if crc32c(data[offset : end + 1]) != unmasked(checksum):
        raise ValueError("a block holds other bytes than its checksum says")
    # Behind the entries: positions where a key is written whole, and their number.
    (restarts,) = struct.unpack_from("<I", data, end - 4)
    end -= 4 * (restarts + 1)
    key, position = b"", offset
    while position < end:
        shared, position = _varint(data, position)
        own, position = _varint(data, position)
        length, position = _varint(data, position)
        if shared > len(key) or position + own + length > end:
            raise ValueError("an entry lies behind its block")
        key = key[:shared] + data[position : position + own]
        position += own
        yield key, data[position : position + length]
        position += length


def _handle(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    """Offset and size of a block, and where the handle ends."""
    offset, position = _varint(data, position)
    size, position = _varint(data, position)
    return (offset, size), position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        octet = data[position]
        position += 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number has more than 64 bits")


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values of a protocol buffer of varints, fixed words and byte strings."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        match tag & 7:
            case 0:
                value, position = _varint(data, position)
                yield tag >> 3, value
            case 2:
                length, position = _varint(data, position)
                if position + length > len(data):
                    raise ValueError("a field lies behind its message")
                yield tag >> 3, data[position : position + length]
                position += length
            case 5:
                yield tag >> 3, struct.unpack_from("<I", data, position)[0]
                position += 4
            case wire:
                raise ValueError(f"a field has wire type {wire}")


def _number(fields: Mapping[int, int | bytes], number: int) -> int:
    value = fields.get(number, 0)
    if not isinstance(value, int):
        raise ValueError(f"field {number} is no number")
    return value


def _bytes(fields: Mapping[int, int | bytes], number: int) -> bytes:
    value = fields.get(number, b"")
    if not isinstance(value, bytes):
        raise ValueError(f"field {number} is no message")
    return value


def find(folder: Path) -> Path:
    """The prefix of a folder's best checkpoint: what `best_dev_checkpoint` or `checkpoint` names, else the only one.

    Raises `NotFound` without one and `InvalidInput` where several could be meant.
    """
    for name in ("best_dev_checkpoint", "checkpoint"):
        if (folder / name).is_file():
            # Only the base name: the file may hold the path of the machine that trained.
            first = (folder / name).read_text(encoding="utf-8", errors="replace").partition("\n")[0]
            base = first.partition(":")[2].strip().strip('"').replace("\\", "/").rpartition("/")[2]
            if (folder / f"{base}.index").is_file():
                return folder / base
    return _only(sorted(folder.glob("*.index")))


def _only(found: Sequence[Path]) -> Path:
    if not found:
        raise NotFound("the folder holds no TensorFlow checkpoint (NAME.index and NAME.data-00000-of-00001)")
    if len(found) > 1:
        raise InvalidInput(
            f"the folder holds several checkpoints ({[p.stem for p in found][:4]}) and no file says which is meant",
            fix="write a file 'checkpoint' with the line: model_checkpoint_path: \"NAME\"",
        )
    return found[0].with_suffix("")
