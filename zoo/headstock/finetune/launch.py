"""Whether this process was started as one of several that train together: asked before torch is imported."""

from __future__ import annotations

import os

_SIZE, _RANK = "WORLD_SIZE", "RANK"
"""Set by whoever launches several processes: `accelerate launch`, `torchrun`, and our own `--processes`."""


def launched() -> int:
    """Processes that this one was launched with; 1 for an ordinary start."""
    return int(os.environ.get(_SIZE, "1"))


def leads() -> bool:
    """True in the one process that writes and speaks."""
    return launched() == 1 or os.environ.get(_RANK, "0") == "0"
