"""The run folder: one per recipe, locked while it is used, gone when its model is published."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from headstock.digest import canonical_json, short
from headstock.errors import Conflict
from headstock.finetune.recipe import Recipe

_LOCK = "lock"
_CHECKPOINT = "checkpoint"


class Onlooker:
    """The run folder as another process of the same run sees it: it begins where that one does, and writes nothing."""

    def __init__(self, root: Path, recipe: Recipe) -> None:
        """The folder of `recipe` under `root`, which the process that leads holds the lock of."""
        self._path = root / recipe.digest.removeprefix("sha256:") / _CHECKPOINT

    def read_checkpoint(self) -> bytes | None:
        """The last checkpoint's bytes, or None."""
        return self._path.read_bytes() if self._path.exists() else None

    def write_checkpoint(self, data: bytes) -> None:
        """The leader's has the same bytes."""


class Part:
    """The checkpoint of a run, or of one of several runs that a recipe asks for."""

    def __init__(self, path: Path) -> None:
        """The file `path`, which need not exist."""
        self._path = path

    def read_checkpoint(self) -> bytes | None:
        """The last checkpoint's bytes, or None."""
        return self._path.read_bytes() if self._path.exists() else None

    def write_checkpoint(self, data: bytes) -> None:
        """Replace the checkpoint as a whole.

        It is not synced to the disk: after a power cut its digest shows the damage and the run starts again, which
        costs less than a sync every epoch.
        """
        temporary = self._path.with_name(f"{self._path.name}.tmp")
        temporary.write_bytes(data)
        temporary.replace(self._path)


class RunFolder:
    """A context manager that holds the run's lock; a killed process loses it with its life."""

    def __init__(self, root: Path, recipe: Recipe) -> None:
        """The folder of `recipe` under `root`; made and locked on entry."""
        self.folder = root / recipe.digest.removeprefix("sha256:")
        self._recipe = recipe
        self._descriptor = -1

    def __enter__(self) -> Self:
        """Lock the run; raises `Conflict` if another process has it."""
        while self._descriptor < 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                owner = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
                os.close(descriptor)
                raise Conflict(
                    f"the same recipe ({short(self._recipe.digest)}) is being run by process {owner}",
                    fix="wait for it, or change the recipe, for example with --seed",
                ) from error
            if self._is_current(descriptor):
                self._descriptor = descriptor
            else:
                # The process that had the lock finished and removed the folder while we opened it.
                os.close(descriptor)
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)
        (self.folder / "recipe.json").write_bytes(canonical_json(self._recipe.to_json()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self.folder.exists() and not list(self.folder.glob(f"{_CHECKPOINT}*")):
            # Nothing was learned yet, so there is nothing to go on from.
            self.remove()
        os.close(self._descriptor)
        self._descriptor = -1

    def read_checkpoint(self) -> bytes | None:
        """The last checkpoint's bytes, or None."""
        return Part(self.folder / _CHECKPOINT).read_checkpoint()

    def write_checkpoint(self, data: bytes) -> None:
        """Replace the checkpoint as a whole; see `Part`."""
        Part(self.folder / _CHECKPOINT).write_checkpoint(data)

    def part(self, name: str) -> Part:
        """The checkpoint of one of the runs that the recipe asks for, where there are several."""
        return Part(self.folder / f"{_CHECKPOINT}-{name}")

    def remove(self) -> None:
        """Delete the folder; call it while the lock is held, after the model is published."""
        shutil.rmtree(self.folder)

    def _is_current(self, descriptor: int) -> bool:
        try:
            there = os.stat(self.folder / _LOCK)
        except FileNotFoundError:
            return False
        here = os.fstat(descriptor)
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
