"""The first use of a foreign plugin, in a child process with a time limit.

An import or a hook that hangs, calls `os._exit` or crashes in native code cannot be caught in one's own process. So the
first time a version of a third-party distribution is needed, a child imports it and calls its hooks; the outcome is
remembered, and later uses go straight ahead. What a plugin does after that, it does with our rights: see
`HEADSTOCK_PLUGINS`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

_RETURNED, _RAISED = 77, 78
_CODE = f"""
import importlib, os, sys
names, pipe, hooks = sys.argv[1], int(sys.argv[2]), sys.argv[3].split()
sys.path[:] = sys.argv[4:]
try:
    module = importlib.import_module(names)
    for hook in hooks:
        os.write(pipe, hook.encode() + b" ")
        getattr(module, hook)()
except BaseException:
    os._exit({_RAISED})
os._exit({_RETURNED})
"""


def probe(module: str, hooks: Sequence[str], seconds: float) -> str:
    """Import `module` and call its `hooks` in a child; why that cannot be done safely here, or `""`.

    What merely raises is no danger, and our own attempt will report it better.
    """
    reader, writer = os.pipe()
    command = [sys.executable, "-c", _CODE, module, str(writer), " ".join(hooks), *sys.path]
    null = subprocess.DEVNULL
    try:
        code = subprocess.run(
            command, stdin=null, stdout=null, stderr=null, timeout=seconds, check=False, pass_fds=[writer]
        ).returncode
        ending = _ending(code)
    except subprocess.TimeoutExpired:
        ending = f"took more than {seconds:g} s"
    finally:
        os.close(writer)
        reached = _read(reader).split()
    doing = f"calling its hook {reached[-1]}()" if reached else f"importing {module}"
    return f"{doing} {ending}" if ending else ""


def _ending(code: int) -> str:
    if code in (_RETURNED, _RAISED):
        return ""
    if code < 0:
        return f"killed the process with {signal.Signals(-code).name}"
    return f"ended the process with exit code {code}"


def _read(reader: int) -> str:
    # A grandchild that the plugin left behind may hold the other end open: what is not there now never comes.
    os.set_blocking(reader, False)
    try:
        return os.read(reader, 4096).decode()
    except BlockingIOError:
        return ""
    finally:
        os.close(reader)
