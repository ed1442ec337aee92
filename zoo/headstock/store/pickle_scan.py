"""Find pickled Python by content: bare, in zip archives, compressed, or inside numpy files. Nothing is unpickled."""

from __future__ import annotations

import bz2
import lzma
import pickletools
import zipfile
import zlib
from itertools import islice
from pathlib import Path

_PROTOCOL_HEADERS = tuple(bytes([0x80, version]) for version in range(2, 8))
_HEAD = 65_536  # bytes looked at from the start of a file or archive member
_OPERATIONS = 100_000

# Operations that import or call: what makes a text-protocol pickle dangerous, and unlike any text.
_CODE = {
    "GLOBAL",
    "INST",
    "OBJ",
    "REDUCE",
    "BUILD",
    "NEWOBJ",
    "NEWOBJ_EX",
    "STACK_GLOBAL",
    "PERSID",
    "BINPERSID",
}
_CONTAINERS = {"PUT", "BINPUT", "LONG_BINPUT", "APPEND", "APPENDS", "SETITEM", "SETITEMS"}


def holds_pickle(path: Path, *, strict: bool = True) -> bool:
    """True if the file, or anything packed in it, is a pickle.

    `strict` takes the two-byte protocol header for proof. Without it (a file that also looks like safetensors, whose
    length prefix can be the beginning of one) the operations must parse to their end and find what they take.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith(b"PK\x03\x04") or zipfile.is_zipfile(path):
        return _zip_holds_pickle(path)
    return _is_pickle(head, strict) or _is_pickle(_decompressed(head), strict)


def _is_pickle(head: bytes, strict: bool) -> bool:
    if head.startswith(_PROTOCOL_HEADERS):
        return strict or _parses(head, whole=True)
    return _is_object_array(head) or _parses(head, whole=not strict)


def _is_object_array(head: bytes) -> bool:
    # numpy writes arrays of objects as pickle behind its own header.
    return head.startswith(b"\x93NUMPY") and b"|O" in head[:1024]


def _parses(head: bytes, *, whole: bool) -> bool:
    """True if the bytes are a pickle that builds or calls something (protocols 0 and 1 have no header).

    `whole` demands that it ends within the bytes: any file's first bytes are the beginning of some pickle or other.
    Bytes that take from an empty stack are none, whatever they spell: `e.` is text.
    """
    seen: set[str] = set()
    stack = _Stack()
    try:
        for operation, _, _ in islice(pickletools.genops(head), _OPERATIONS):
            if not stack.apply(operation):
                return False
            seen.add(operation.name)
    except Exception as error:
        # pickletools raises many kinds of error on arbitrary bytes. A pickle longer than the part that was read ends
        # in one too, but never in an operation that does not exist, and not before it has stored or used something.
        return not whole and len(head) == _HEAD and "unknown" not in str(error) and bool(seen & (_CODE | _CONTAINERS))
    return "STOP" in seen and bool(seen & (_CODE | _CONTAINERS))


class _Stack:
    """How deep the stack of an unpickler would be, and where its marks stand; it knows no values."""

    def __init__(self) -> None:
        self._depth = 0
        self._marks: list[int] = []

    def apply(self, operation: pickletools.OpcodeInfo) -> bool:
        """Take and leave what the operation does; False if there is not as much, and no unpickler would go on."""
        taken = list(operation.stack_before)
        if operation.name == "POP" and self._marks and self._marks[-1] == self._depth:
            self._marks.pop()
            return True
        if pickletools.markobject in taken:
            if not self._marks:
                return False
            self._depth = self._marks.pop()
            taken = taken[: taken.index(pickletools.markobject)]
        if self._depth < len(taken):
            return False
        self._depth -= len(taken)
        if operation.name == "MARK":
            self._marks.append(self._depth)
        else:
            self._depth += len(operation.stack_after)
        return True


def _zip_holds_pickle(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.filename.lower().endswith((".pkl", ".pickle")):
                    return True
                with archive.open(member) as file:
                    if _is_pickle(file.read(_HEAD), True):
                        return True
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, zlib.error):
        # An archive that cannot be looked into (torn, encrypted, exotic) is not shown to be free of pickle.
        return True
    return False


def _decompressed(head: bytes) -> bytes:
    """The beginning of a compressed file's contents (joblib writes those); empty if it is not compressed."""
    try:
        if head.startswith(b"\x1f\x8b"):
            return zlib.decompressobj(31).decompress(head, _HEAD)
        if head[:1] == b"\x78":
            return zlib.decompressobj().decompress(head, _HEAD)
        if head.startswith(b"BZh"):
            return bz2.BZ2Decompressor().decompress(head, _HEAD)
        if head.startswith((b"\xfd7zXZ", b"\x5d\x00\x00")):
            return lzma.LZMADecompressor().decompress(head, _HEAD)
    except (zlib.error, OSError, lzma.LZMAError, EOFError):
        return b""  # it only looked compressed
    return b""
