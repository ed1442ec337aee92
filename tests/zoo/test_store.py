"""The blob store: bytes under their own digest, all of them or none, whatever happens meanwhile."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path

import pytest

from headstock.digest import Digest, digest_bytes
from headstock.errors import Corrupt, HeadstockError, InvalidInput, NotFound
from headstock.store import BlobStore


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "store")


def leftovers(store: BlobStore) -> list[str]:
    return [path.name for path in (store.root / "tmp").iterdir()]


def test_what_is_put_comes_back(store: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"from a file")

    assert store.read_bytes(store.put_bytes(b"bytes")) == b"bytes"
    assert store.read_bytes(store.put_file(tmp_path / "file")) == b"from a file"
    assert store.read_json(store.put_json({"b": 1, "a": [2.5, None]})) == {"a": [2.5, None], "b": 1}


def test_a_digest_is_the_sha256_of_the_bytes_and_the_file_name(store: BlobStore) -> None:
    digest = store.put_bytes(b"hello")

    assert digest == digest_bytes(b"hello")
    assert store.path(digest) == store.root / "sha256" / digest[7:9] / digest[7:]
    assert store.path(digest).read_bytes() == b"hello"
    assert list(store.digests()) == [digest]


def test_the_same_bytes_are_kept_once(store: BlobStore) -> None:
    assert store.put_bytes(b"twice") == store.put_bytes(b"twice")
    assert len(list(store.digests())) == 1


def test_blobs_are_read_only(store: BlobStore) -> None:
    assert store.path(store.put_bytes(b"fixed")).stat().st_mode & 0o777 == 0o444


def test_a_blob_that_is_not_there_is_named(store: BlobStore) -> None:
    missing = digest_bytes(b"never put")

    assert not store.has(missing)
    with pytest.raises(NotFound, match=missing[7:19]):
        store.read_bytes(missing)
    with pytest.raises(NotFound):
        store.size(missing)


def test_changed_bytes_are_never_handed_out(store: BlobStore) -> None:
    digest = store.put_json({"weights": 1})
    store.path(digest).chmod(0o644)
    store.path(digest).write_bytes(b'{"weights":2}')

    with pytest.raises(Corrupt, match="holds other bytes"):
        store.read_json(digest)
    with pytest.raises(Corrupt):
        store.check(digest)


def test_putting_the_same_bytes_again_heals_a_rotten_blob(store: BlobStore) -> None:
    digest = store.put_bytes(b"good")
    store.path(digest).chmod(0o644)
    store.path(digest).write_bytes(b"rotten")

    store.put_bytes(b"good")

    assert store.read_bytes(digest) == b"good"


def test_a_file_that_is_not_what_its_source_promised_is_refused_and_leaves_nothing(
    store: BlobStore, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(b"something else")

    with pytest.raises(Corrupt, match=r"'model\.bin' holds other bytes than its source promised"):
        store.put_file(tmp_path / "model.bin", expected=digest_bytes(b"the real thing"))

    assert list(store.digests()) == []
    assert leftovers(store) == []


def test_a_missing_file_is_named_without_its_folder(store: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no file 'absent\.bin'") as caught:
        store.put_file(tmp_path / "absent.bin")
    assert str(tmp_path) not in str(caught.value)


def test_a_path_is_never_made_of_anything_but_a_digest(store: BlobStore) -> None:
    with pytest.raises(InvalidInput, match="is not a digest"):
        store.path(Digest("sha256:../../etc/passwd"))


@pytest.mark.parametrize("call", ["fsync", "fchmod"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_failing_disk_is_one_clear_error_and_leaves_nothing(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    store.put_bytes(b"before")

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(HeadstockError, match=os.strerror(code)):
            store.put_bytes(b"after")

    assert leftovers(store) == []
    assert list(store.digests()) == [digest_bytes(b"before")]


def test_bytes_are_durable_before_their_name_and_the_name_before_put_returns(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_bytes(b"other bytes, so that the folders exist")
    calls: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def record_fsync(descriptor: int) -> None:
        calls.append("fsync " + Path(os.readlink(f"/proc/self/fd/{descriptor}")).parent.name)
        fsync(descriptor)

    def record_rename(path: Path, target: Path) -> Path:
        calls.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "rename", record_rename)
    store.put_bytes(b"new bytes")

    # The file under tmp/; perhaps its new folder's entry; the rename; the folder that names it.
    assert (calls[0], calls[-2:]) == ("fsync tmp", ["rename", "fsync sha256"])


def test_many_threads_may_put_the_same_bytes(store: BlobStore) -> None:
    data = os.urandom(100_000)
    threads = [threading.Thread(target=store.put_bytes, args=(data,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert store.read_bytes(digest_bytes(data)) == data
    assert leftovers(store) == []


def test_only_files_of_dead_writers_count_as_leftovers(store: BlobStore) -> None:
    store.put_bytes(b"makes the folders")
    (store.root / "tmp" / "dead").write_bytes(b"half a bl")
    with (store.root / "tmp" / "alive").open("wb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)

        assert store.dead_temporaries(delete=True) == 1
        assert leftovers(store) == ["alive"]


def test_delete_says_how_much_it_freed(store: BlobStore) -> None:
    digest = store.put_bytes(b"12345")

    assert store.delete(digest) == 5
    assert store.delete(digest) == 0
    assert not store.has(digest)


def test_delete_spares_a_blob_that_was_put_again_meanwhile(store: BlobStore) -> None:
    digest = store.put_bytes(b"wanted again")
    os.utime(store.path(digest), (1_000.0, 1_000.0))
    store.put_bytes(b"wanted again")

    assert store.delete(digest, unless_newer=2_000.0) == 0
    assert store.read_bytes(digest) == b"wanted again"
    assert leftovers(store) == []


def test_quarantine_takes_a_blob_out_and_keeps_its_bytes(store: BlobStore) -> None:
    digest = store.put_bytes(b"suspicious")

    store.quarantine(digest)

    assert not store.has(digest)
    kept = list((store.root / "quarantine").iterdir())
    assert [path.read_bytes() for path in kept] == [b"suspicious"]
