"""The page on benchmarks names what there is, and what it says can be run can be run."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks"
PAGE = (ROOT / "docs" / "benchmarks.md").read_text()
SERVED = ("serving_limit", "mixed_lengths", "many_heads", "hundred_models", "graph_served", "lora", "overload",
          "front_ends", "peers")  # fmt: skip


def listed() -> list[str]:
    """The scripts that `make bench` runs, from the source: importing it needs the benchmarks' own folder."""
    tree = ast.parse((FOLDER / "run_all.py").read_text())
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name))
    return [ast.literal_eval(call.args[0]) for call in calls if call.func.id == "Benchmark"]  # type: ignore[attr-defined]


def test_make_bench_runs_scripts_that_exist_each_once() -> None:
    names = listed()
    assert len(names) == len(set(names)) > 10
    assert [name for name in names if not (FOLDER / f"{name}.py").is_file()] == []


def test_the_page_names_every_script_that_make_bench_runs() -> None:
    assert [name for name in listed() if f"`{name}.py`" not in PAGE] == []


def test_the_page_names_no_script_that_is_not_there() -> None:
    named = re.findall(r"`(?:benchmarks/)?(\w+\.py)", PAGE)
    assert [name for name in named if not (FOLDER / name).is_file()] == []


HELP = """
import contextlib, io, json, runpy, sys
shown = {}
for script in sys.argv[1:]:
    sys.argv = [script, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        runpy.run_path(script, run_name="__main__")
    shown[script] = printed.getvalue()
print(json.dumps(shown))
"""


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    """What each of them prints for `--help`; all in one process, because most of it is imports."""
    scripts = {name: str(FOLDER / f"{name}.py") for name in SERVED}
    # As a script sees it: its own folder comes first.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(FOLDER), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", HELP, *scripts.values()], env=environment, text=True, capture_output=True, check=True
    )
    shown = json.loads(done.stdout)
    return {name: shown[script] for name, script in scripts.items()}


@pytest.mark.parametrize("name", SERVED)
def test_windows_and_rounds_of_a_served_benchmark_can_be_set(name: str, helps: dict[str, str]) -> None:
    """`--help` says what is measured and has both options."""
    shown = helps[name]
    assert "--seconds" in shown
    assert "--rounds" in shown
    first = ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text()))
    assert first is not None
    assert first.splitlines()[0] in shown
