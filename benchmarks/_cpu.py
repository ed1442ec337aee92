"""CPU time of a whole command."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Mapping, Sequence


def cpu(command: Sequence[str], environment: Mapping[str, str]) -> float:
    """User and system seconds of one run of the command; raises `CalledProcessError` where it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
