"""The blob store: files named by the SHA-256 of their bytes, written so that a crash leaves all of one or none."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from headstock.digest import Digest, canonical_json, check_digest, chunks, digest_bytes, digest_file, short
from headstock.errors import Corrupt, HeadstockError, NotFound
from headstock.store.admission import Content, admit


class BlobStore:
    """Blobs under `root/sha256/ab/<64 hex>`; unfinished ones under `root/tmp`, bad ones under `root/quarantine`.

    Safe for any number of threads and processes: a blob is written to a temporary file, checked, fsynced, renamed
    into place, and its folder fsynced, before `put_*` returns.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs = root / "sha256"
        self._tmp = root / "tmp"
        self._quarantine = root / "quarantine"

    def __repr__(self) -> str:
        return f"BlobStore({str(self.root)!r})"

    # ------------------------------------------------------------------------------------------ reading
    def path(self, digest: Digest) -> Path:
        """Where the blob is, or would be; nothing is checked but the digest's form (`InvalidInput`)."""
        hexadecimal = check_digest(digest).removeprefix("sha256:")
        return self._blobs / hexadecimal[:2] / hexadecimal

    def has(self, digest: Digest) -> bool:
        """True if the blob is here. Its bytes are not read."""
        return self.path(digest).is_file()

    def size(self, digest: Digest) -> int:
        """Bytes on disk; raises `NotFound`."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            raise _missing(digest) from None

    def read_bytes(self, digest: Digest) -> bytes:
        """The blob, hashed as read. Raises `NotFound`, or `Corrupt` if the bytes are not what the digest says."""
        try:
            data = self.path(digest).read_bytes()
        except FileNotFoundError:
            raise _missing(digest) from None
        if digest_bytes(data) != digest:
            raise _corrupt(digest, digest_bytes(data))
        return data

    def read_json(self, digest: Digest) -> Any:
        """The blob parsed as JSON. Raises as `read_bytes`, and `Corrupt` if it is not JSON."""
        import json

        data = self.read_bytes(digest)
        try:
            return json.loads(data)
        except ValueError as error:
            raise Corrupt(f"blob {short(digest)} was expected to hold JSON but does not parse: {error}") from error

    def check(self, digest: Digest) -> None:
        """Hash the blob in place; raises `NotFound` or `Corrupt`."""
        try:
            found = digest_file(self.path(digest))
        except FileNotFoundError:
            raise _missing(digest) from None
        if found != digest:
            raise _corrupt(digest, found)

    # ------------------------------------------------------------------------------------------ writing
    def put_bytes(self, data: bytes, *, content: Content | None = None) -> Digest:
        """Store `data`; raises `InvalidInput` for contents that are not admitted (pickle, malformed safetensors...)."""
        return self._put([data], "bytes", None, content)

    def put_json(self, value: Any) -> Digest:
        """Store a value's canonical JSON."""
        return self.put_bytes(canonical_json(value))

    def put_file(self, path: Path, *, expected: Digest | None = None, content: Content | None = None) -> Digest:
        """Store a copy of `path`.

        `expected` is the digest the source promised: `Corrupt` if the bytes differ. `content` says what the file
        must be; without it the contents decide which checks apply. Raises `InvalidInput` for contents that are not
        admitted, `NotFound` if there is no such file. The copy is what gets hashed and checked, so a file that
        changes meanwhile cannot slip through.
        """
        if not path.is_file():
            raise NotFound(f"there is no file {path.name!r} to store")
        return self._put(chunks(path), path.name, expected, content)

    def _put(self, pieces: Iterable[bytes], name: str, expected: Digest | None, content: Content | None) -> Digest:
        with _disk_errors(name), self._temporary() as (file, temporary):
            sha = hashlib.sha256()
            for piece in pieces:
                sha.update(piece)
                file.write(piece)
            file.flush()
            digest = Digest("sha256:" + sha.hexdigest())
            if expected is not None and digest != expected:
                raise Corrupt(
                    f"{name!r} holds other bytes than its source promised: expected {short(expected)}, "
                    f"got {short(digest)}",
                    fix="download it again",
                )
            admit(temporary, name=name, content=content)
            os.fchmod(file.fileno(), 0o444)
            os.fsync(file.fileno())
            # Renaming over a blob that is already here heals a rotten one and makes it young, so that a running
            # gc sees that somebody wants it.
            target = self.path(digest)
            _make_folder(target.parent)
            temporary.rename(target)
            _fsync_folder(target.parent)
            return digest

    @contextmanager
    def _temporary(self) -> Iterator[tuple[IO[bytes], Path]]:
        """A locked temporary file; the lock tells cleaners that its owner lives."""
        _make_folder(self._tmp)
        while True:
            path = self._tmp / secrets.token_hex(16)
            with path.open("xb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if os.fstat(file.fileno()).st_nlink == 0:
                    continue  # a cleaner took the file between its creation and the lock
                try:
                    yield file, path
                finally:
                    path.unlink(missing_ok=True)
                return

    # ------------------------------------------------------------------------------------------ upkeep
    def digests(self) -> Iterator[Digest]:
        """Every blob in the store, in no order."""
        if not self._blobs.is_dir():
            return
        for folder in self._blobs.iterdir():
            for path in folder.iterdir():
                yield Digest("sha256:" + path.name)

    def delete(self, digest: Digest, *, unless_newer: float | None = None) -> int:
        """Delete a blob and return its size in bytes; 0 if it is not here or was put again.

        `unless_newer` is a POSIX time: a blob that was put at or after it stays.
        """
        path, trash = self.path(digest), self._tmp / secrets.token_hex(16)
        _make_folder(self._tmp)
        try:
            path.rename(trash)
        except FileNotFoundError:
            return 0
        status = trash.stat()
        # Looked at after the rename: a `put` of the same bytes may have come in since the caller decided.
        if unless_newer is not None and status.st_mtime >= unless_newer:
            if path.exists():
                trash.unlink()
            else:
                trash.rename(path)
            return 0
        trash.unlink()
        return status.st_size

    def modified(self, digest: Digest) -> float:
        """POSIX time of the blob's latest `put`; raises `NotFound`."""
        try:
            return self.path(digest).stat().st_mtime
        except FileNotFoundError:
            raise _missing(digest) from None

    def quarantine(self, digest: Digest) -> None:
        """Move a corrupt blob out of the way, keeping its bytes for a post-mortem."""
        _make_folder(self._quarantine)
        self.path(digest).rename(self._quarantine / f"{digest.removeprefix('sha256:')}-{secrets.token_hex(4)}")
        _fsync_folder(self._quarantine)

    def dead_temporaries(self, *, delete: bool = False) -> int:
        """Count the temporary files whose writer is gone, and delete them if asked."""
        if not self._tmp.is_dir():
            return 0
        dead = 0
        for path in list(self._tmp.iterdir()):
            with suppress(FileNotFoundError), path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue  # its writer lives
                dead += 1
                if delete:
                    path.unlink()
        return dead


def _missing(digest: Digest) -> NotFound:
    return NotFound(f"blob {short(digest)} is not in the store", fix="headstock verify")


def _corrupt(digest: Digest, found: Digest) -> Corrupt:
    return Corrupt(
        f"blob {short(digest)} holds other bytes (sha256 {short(found)})",
        fix="headstock verify --repair, then pull or fine-tune again",
    )


def _make_folder(path: Path) -> None:
    if path.is_dir():
        return
    _make_folder(path.parent)
    with suppress(FileExistsError):
        path.mkdir()
    _fsync_folder(path.parent)


def _fsync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _disk_errors(name: str) -> Iterator[None]:
    """Full, read-only and failing disks become an error that a user can read; the temporary file is gone by then."""
    try:
        yield
    except OSError as error:
        raise HeadstockError(
            f"the store could not take {name!r}: {error.strerror or type(error).__name__}",
            fix="free space on the disk that holds the store (see 'headstock gc'), or check its permissions",
        ) from error
