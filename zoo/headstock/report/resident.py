"""Resident memory of one more session: measured in a process of its own that holds the backbone's session already."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

Feeds: TypeAlias = Mapping[str, npt.NDArray[Any]]

_STATM = Path("/proc/self/statm")
_CODE = "import sys; from headstock.report.resident import main; print(main(*sys.argv[1:]))"
_SECONDS = 120
_PLAIN, _OTHER = "plain/", "other/"


def session_bytes(cache: Path, base: Path, plain: Feeds, graph: Path, feeds: Feeds, tap: str) -> int | None:
    """Bytes that opening `graph` and one pass over `feeds` add to a process that has run `base` on `plain`.

    None where the system does not tell a process its resident size, or the measurement fails. Graphs are named by
    their content in the store, so what is measured once is kept under `cache`.
    """
    if not _STATM.exists():
        return None
    rows = len(next(iter(plain.values())))
    kept = cache / "resident" / f"{base.name}-{graph.name}-{rows}.json"
    if kept.exists():
        found: int = json.loads(kept.read_text())
        return found
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "feeds.safetensors"
        named = {_PLAIN + k: v for k, v in plain.items()} | {_OTHER + k: v for k, v in feeds.items()}
        save_file({name: np.ascontiguousarray(array) for name, array in named.items()}, arrays)
        command = [sys.executable, "-c", _CODE, str(base), str(graph), str(arrays), tap]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_SECONDS, env={**os.environ, "OMP_NUM_THREADS": "1"}
            )
            measured = int(done.stdout)
        except (ValueError, OSError, subprocess.TimeoutExpired):
            return None
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(measured))
    return measured


def _resident() -> int:
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(base: str, graph: str, arrays: str, tap: str) -> int:
    """What a process prints that was started for one measurement."""
    from headstock.graph import Graph

    given = load_file(arrays)
    plain, other = (
        {name.removeprefix(prefix): array for name, array in given.items() if name.startswith(prefix)}
        for prefix in (_PLAIN, _OTHER)
    )
    shared = Graph(Path(base))
    shared.run(plain, [tap])
    before = _resident()
    added = Graph(Path(graph))
    added.run(other, [tap])
    return max(0, _resident() - before)
