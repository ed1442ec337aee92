"""The first import of a foreign plugin, in a child process with a time limit.

An import that hangs, calls `os._exit` or crashes in native code cannot be caught in one's own process. So the first
time a version of a third-party distribution is needed, a child imports it first; the outcome is remembered, and
later imports go straight ahead. What a plugin does after that, it does with our rights: see `HEADSTOCK_PLUGINS`.
"""

from __future__ import annotations

import signal
import subprocess
import sys

_RETURNED, _RAISED = 77, 78
_CODE = f"""
import importlib, os, sys
sys.path[:] = sys.argv[2:]
try:
    importlib.import_module(sys.argv[1])
except BaseException:
    os._exit({_RAISED})
os._exit({_RETURNED})
"""


def probe(module: str, seconds: float) -> str:
    """Import `module` in a child; why that cannot be done safely here, or `""`.

    An import that merely raises is no danger, and our own import will report it better.
    """
    command = [sys.executable, "-c", _CODE, module, *sys.path]
    null = subprocess.DEVNULL
    try:
        code = subprocess.run(command, stdin=null, stdout=null, stderr=null, timeout=seconds, check=False).returncode
    except subprocess.TimeoutExpired:
        return f"importing {module} took more than {seconds:g} s"
    if code in (_RETURNED, _RAISED):
        return ""
    if code < 0:
        return f"importing {module} killed the process with {signal.Signals(-code).name}"
    return f"importing {module} ended the process with exit code {code}"
