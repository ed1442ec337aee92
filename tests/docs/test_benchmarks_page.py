"""The page on benchmarks names what there is, and what it says can be run can be run."""

from __future__ import annotations

import ast
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


@pytest.mark.parametrize("name", SERVED)
def test_windows_and_rounds_of_a_served_benchmark_can_be_set(name: str) -> None:
    """`--help` says what is measured and has both options."""
    shown = subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py"), "--help"], text=True, capture_output=True, check=True
    ).stdout
    assert "--seconds" in shown
    assert "--rounds" in shown
    first = ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text()))
    assert first is not None
    assert first.splitlines()[0] in shown
