"""The feature cache on disk: shards named by their own digest, shared by all heads and runs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headstock.digest import Digest, canonical_json, digest_bytes, digest_json
from headstock.finetune.values import Values, flat, joined, pick

_SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class Known:
    """Features of distinct samples."""

    samples: tuple[Digest, ...]
    values: Values
    """[n, ..., width] FP32, or a list of arrays [positions, width]."""
    truncated: npt.NDArray[np.uint8]
    """[n] 1 where the sample was cut to the backbone's longest input."""

    def __len__(self) -> int:
        return len(self.samples)

    @classmethod
    def join(cls, parts: Sequence[Known], shape: Sequence[int], *, ragged: bool = False) -> Known:
        """All parts, one after the other; `shape` of a row gives an empty result its shape."""
        return cls(
            tuple(sample for part in parts for sample in part.samples),
            joined([part.values for part in parts], shape, ragged),
            np.concatenate([np.empty(0, np.uint8), *(part.truncated for part in parts)]),
        )

    def only(self, wanted: Collection[Digest]) -> Known:
        """The part about `wanted` samples."""
        rows = [row for row, sample in enumerate(self.samples) if sample in wanted]
        return Known(tuple(self.samples[r] for r in rows), pick(self.values, rows), self.truncated[rows])


class FeatureCache:
    """One folder per (backbone, tap, preprocessing); safe against kills and against writers side by side.

    A shard is written beside its place and renamed into it, and its file name is the digest of its bytes: a torn or
    altered shard is noticed, dropped and computed again.
    """

    def __init__(self, root: Path, backbone: Digest, tap: str, preprocess: Digest) -> None:
        """Use (and make) the folder of that key under `root`."""
        key = {"backbone": backbone, "tap": tap, "preprocess": preprocess, "layout": 1}
        self.folder = root / "features" / digest_json(key).removeprefix("sha256:")
        self.dropped = 0
        """Shards found corrupt so far."""
        self.folder.mkdir(parents=True, exist_ok=True)
        description = self.folder / "key.json"
        if not description.exists():
            _write(description, canonical_json(key))

    def load(self, wanted: Collection[Digest]) -> list[Known]:
        """What is known of the `wanted` samples."""
        found: list[Known] = []
        missing = set(wanted)
        for path in sorted(self.folder.glob(f"*{_SUFFIX}")):
            if not missing:
                break
            part = self._read(path)
            if part is None:
                continue
            part = part.only(missing)
            missing -= set(part.samples)
            found.append(part)
        return found

    def append(self, known: Known) -> None:
        """Add a shard; when this returns, a kill cannot lose it."""
        from safetensors.numpy import save

        # Rows of different lengths lie end to end.
        ragged = isinstance(known.values, list)
        lengths = {"lengths": np.array([len(row) for row in known.values], np.int64)} if ragged else {}
        names = np.frombuffer(bytes.fromhex("".join(s.removeprefix("sha256:") for s in known.samples)), np.uint8)
        data = save({
            "features": np.ascontiguousarray(flat(known.values)),
            "samples": names.reshape(len(known), 32),
            "truncated": known.truncated,
            **lengths,
        })  # fmt: skip
        _write(self.folder / f"{digest_bytes(data).removeprefix('sha256:')}{_SUFFIX}", data)

    def _read(self, path: Path) -> Known | None:
        from safetensors.numpy import load

        try:
            data = path.read_bytes()
        except FileNotFoundError:
            # Another process dropped it between the listing and now.
            return None
        if digest_bytes(data) != f"sha256:{path.stem}":
            self.dropped += 1
            path.unlink(missing_ok=True)
            return None
        tensors = load(data)
        samples = tuple(Digest(f"sha256:{bytes(row).hex()}") for row in tensors["samples"])
        values: Values = tensors["features"]
        if "lengths" in tensors:
            values = np.split(tensors["features"], np.cumsum(tensors["lengths"])[:-1])
        return Known(samples, values, tensors["truncated"])


def _write(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=".", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
