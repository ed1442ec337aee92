"""The folder of an operator's licence records, and what tells that it changed; imports nothing that judges."""

from __future__ import annotations

from pathlib import Path

FOLDER = "licences"
"""Its name in HEADSTOCK_HOME."""

State = tuple[tuple[str, int, int], ...]
"""Name, time of change and size of every file."""


def state_of(folder: Path) -> State:
    """What tells that files were added, changed or taken away; reads none of them."""
    found = [(path.name, path.stat()) for path in sorted(folder.glob("*.toml"))]
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in found)
