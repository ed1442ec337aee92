"""A folder for one pull, removed when it ends; what a killed pull left is removed by the next one."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = "lock"


@contextmanager
def workdir(parent: Path) -> Iterator[Path]:
    """An empty folder under `parent` for the time of the block.

    A living owner holds a lock beside its files; folders whose lock is free belong to processes that died.
    """
    parent.mkdir(parents=True, exist_ok=True)
    _sweep(parent)
    own = Path(tempfile.mkdtemp(dir=parent, prefix="new-"))
    with (own / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        files = own / "files"
        files.mkdir()
        try:
            yield files
        finally:
            shutil.rmtree(own, ignore_errors=True)


def _sweep(parent: Path) -> None:
    for folder in parent.glob("new-*"):
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR)
        except FileNotFoundError:
            # Its owner died, or lives and is about to make the lock: a folder without one is empty and costs nothing.
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(lock)
