"""How much memory the process has taken at most."""

from __future__ import annotations

import resource
import sys


def peak_memory() -> int:
    """Bytes of resident memory at most, of the whole process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
