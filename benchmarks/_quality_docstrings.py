"""A text set that every Python installation holds: docstrings of the standard library, labelled by their package."""

from __future__ import annotations

import ast
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np

PACKAGES = (
    "asyncio",
    "email",
    "http",
    "idlelib",
    "importlib",
    "logging",
    "mailbox",
    "multiprocessing",
    "tkinter",
    "turtle",
    "unittest",
    "xml",
)
"""Those with more than a hundred docstrings, of libraries that Python has had for long and still has."""
_WORDS = 6
_CHARACTERS = 160


def docstrings(per_package: int) -> tuple[list[str], list[str]]:
    """Texts and packages, at most so many of each, drawn with a fixed seed; no text stands there twice.

    A text is the first paragraph of the docstring of a class or function, of six words or more, cut at 160
    characters. How many there are depends on the version of Python.
    """
    texts: list[str] = []
    labels: list[str] = []
    for package in PACKAGES:
        found = list(dict.fromkeys(_of(package)))
        drawn = np.random.default_rng(0).permutation(len(found))[:per_package]
        texts += [found[i] for i in sorted(drawn) if found[i] not in texts]
        labels += [package] * (len(texts) - len(labels))
    return texts, labels


def _of(package: str) -> Iterator[str]:
    root = Path(sysconfig.get_paths()["stdlib"])
    files = sorted((root / package).rglob("*.py")) if (root / package).is_dir() else [root / f"{package}.py"]
    for path in files:
        if not {"test", "tests", "idle_test"} & set(path.parts):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    text = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
                    if len(text.split()) >= _WORDS:
                        yield text[:_CHARACTERS]
