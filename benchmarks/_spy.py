"""Where a server's time goes: its Python functions by their own time, as py-spy samples them."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

RATE = 200
"""Samples a second."""


def profile(pid: int, seconds: float, load: Callable[[], object]) -> Counter[str]:
    """Samples of each function that held the interpreter while `load` lasts; what runs without it is left out."""
    spy = shutil.which("py-spy")
    if spy is None:
        raise SystemExit("--profile needs py-spy, which is not on the PATH: pip install 'headstock[bench]'")
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "stacks")
        command = [spy, "record", "--gil", "--pid", str(pid), "--format", "raw", "--output", str(raw)]
        command += ["--rate", str(RATE), "--duration", str(max(1, round(seconds)))]
        sampler = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        load()
        _, errors = sampler.communicate(timeout=seconds + 30)
        if not raw.exists():
            raise SystemExit(f"py-spy could not look into the server: {errors.decode().strip()[-300:]}")
        return _own(raw.read_text())


def _own(stacks: str) -> Counter[str]:
    """Samples by the innermost function of each stack."""
    own: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        own[re.sub(r":\d+\)$", ")", stack.rpartition(";")[2])] += int(count)
    return own
