"""What importing a plugin costs, measured in a process of its own: listings and servers must never pay for torch."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from headstock.plugin_host import Manifest
from headstock.testing.results import Broken

BUDGET = 0.5
"""Most CPU seconds that importing the hooks and calling them may take, beside what the host has loaded anyway."""
SECONDS = 60.0
HEAVY = ("torch", "transformers", "onnxruntime", "onnx", "sklearn", "pandas", "tensorflow", "jax")
"""Libraries that belong inside functions."""

_CODE = """
import importlib, json, os, sys, time
out = os.dup(1)
os.dup2(2, 1)
sys.path[:] = sys.argv[3:]
import headstock.hookspecs, headstock.preprocess, headstock.plugin_host.loading
before = time.process_time()
module = importlib.import_module(sys.argv[1])
for hook in sys.argv[2].split():
    list(getattr(module, hook)())
seconds = time.process_time() - before
cuda = "torch" in sys.modules and sys.modules["torch"].cuda.is_initialized()
os.write(out, json.dumps({"seconds": seconds, "cuda": cuda, "modules": list(sys.modules)}).encode())
os.close(out)
os._exit(0)
"""


def check_import_cost(manifest: Manifest) -> str:
    """Import the plugin's hooks and call them in a child; raises `Broken` above `BUDGET` or when CUDA starts up."""
    found = _measure(manifest)
    heavy = [library for library in HEAVY if library in found["modules"]]
    if found["cuda"]:
        raise Broken("importing the plugin initialises CUDA, which takes the device's memory; do it inside load()")
    if heavy:
        raise Broken(
            f"importing {manifest.module} and calling its hooks imports {', '.join(heavy)} "
            f"({1000 * found['seconds']:.0f} ms of CPU); import them inside functions"
        )
    if found["seconds"] > BUDGET:
        raise Broken(
            f"importing {manifest.module} and calling its hooks took {1000 * found['seconds']:.0f} ms of CPU; "
            f"expected at most {1000 * BUDGET:.0f}"
        )
    return f"{1000 * found['seconds']:.0f} ms of CPU"


def _measure(manifest: Manifest) -> dict[str, Any]:
    hooks = " ".join(sorted(manifest.declared_hooks()))
    command = [sys.executable, "-c", _CODE, manifest.module, hooks, *sys.path]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise Broken(f"importing {manifest.module} in a fresh process failed: {said[-1][:200] if said else 'no word'}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
