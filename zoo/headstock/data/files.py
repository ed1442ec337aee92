"""Files that a data set's rows name: found inside the data's folder only, hashed once, read when needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from headstock.digest import Digest, digest_bytes, digest_file, digest_json
from headstock.errors import FailedPrecondition, InvalidInput

IMAGES = (".jpg", ".jpeg", ".png", ".webp")
SOUNDS = (".wav", ".flac")
MEDIA: Mapping[str, tuple[str, ...]] = {"image": IMAGES, "audio": SOUNDS}
"""Raw input to the suffixes of files that hold one."""


class Folder:
    """A data set's folder. Paths that leave it, by `..` or by a link, are refused."""

    def __init__(self, root: Path) -> None:
        """Nothing is read yet."""
        self.root = root
        self._resolved: Path | None = None
        self._digests: dict[str, Digest] = {}

    def fault(self, path: str) -> str | None:
        """Why `path` cannot be used, as in `'a.png' ...`; None if it can."""
        if self._resolved is None:
            self._resolved = self.root.resolve()
        try:
            found = (self.root / path).resolve()
            if not found.is_relative_to(self._resolved):
                return "leads out of the data's folder"
            return None if found.is_file() else "is not there"
        # A NUL byte, a name too long, or links that point at each other.
        except (ValueError, OSError, RuntimeError):
            return "is no usable path"

    def digest(self, path: str) -> Digest:
        """Digest of the file, which is hashed the first time; raises `InvalidInput` if it cannot be."""
        if path not in self._digests:
            fault = self.fault(path)
            if fault is not None:
                raise InvalidInput(f"{path[:200]!r} {fault}")
            try:
                self._digests[path] = digest_file(self.root / path)
            except OSError as error:
                raise InvalidInput(f"{path[:200]!r} cannot be read: {error.strerror}") from error
        return self._digests[path]

    def read(self, path: str, expected: Digest) -> bytes:
        """The file's bytes; raises `FailedPrecondition` if they are not those that were hashed."""
        try:
            data = (self.root / path).read_bytes()
        except OSError as error:
            raise FailedPrecondition(f"{path!r} cannot be read any more: {error.strerror}") from error
        if digest_bytes(data) != expected:
            raise FailedPrecondition(
                f"{path!r} was changed while it was being used", fix="run it again when the data stands still"
            )
        return data

    def manifest(self, paths: Iterable[str]) -> Digest:
        """Digest of the files' paths and digests, whatever their order. Raises what `digest` raises."""
        return digest_json({path: self.digest(path) for path in paths})
