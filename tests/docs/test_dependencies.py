"""What the code imports is declared in pyproject.toml, with what it is for, and has a version in constraints.txt."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PROJECT = tomllib.loads(TEXT)
PACKAGES = [ROOT / p for p in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
INSTALLED = packages_distributions()
FOR_DEVELOPERS = ("dev", "bench")

# Import names whose distributions need not be installed here: the first-party plugin uses each that is.
ABSENT = {"mlflow": "mlflow-skinny", "tensorboard": "tensorboard"}
# `headstock.testing` holds a plugin of pytest, which only pytest loads.
LOADERS = {"pytest"}
# Packages that no test environment has: who draws the fixtures anew installs them by hand.
OTHERS = {"tensorflow", "timm", "deepspeech"}
# Declared without an import of ours, by what needs them.
UNNAMED = {
    "pyopenssl": "model-signing imports it and does not declare it",
    "onnxruntime-gpu": "is imported as onnxruntime",
    "tensorboard": "torch.utils.tensorboard imports it",
    "soxr": "headstock.preprocess.audio_decode imports it by name, to say what to install where it is missing",
}


def normal(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements: Iterable[str]) -> set[str]:
    """Names of the distributions in a list of requirements."""
    names = (re.match(r"[A-Za-z0-9._-]+", text) for text in requirements)
    return {normal(name[0]) for name in names if name is not None} - {"headstock"}


USERS = declared(PROJECT["project"]["dependencies"]) | {
    name for extra, listed in EXTRAS.items() if extra not in FOR_DEVELOPERS for name in declared(listed)
}
ALL = USERS | {name for extra in FOR_DEVELOPERS for name in declared(EXTRAS[extra])}


def imported(folders: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Top-level name and file of every absolute import below the folders, lazy ones too."""
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    yield from ((alias.name.split(".")[0], str(path.relative_to(ROOT))) for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                    yield node.module.split(".")[0], str(path.relative_to(ROOT))


def foreign(folders: Iterable[Path]) -> dict[str, str]:
    """Imports of other people's code with a file that has each."""
    folders = list(folders)
    ours = {p.name for p in PACKAGES} | set(sys.stdlib_module_names)
    # Scripts and tests import what lies beside them; a module of a package is never named alone.
    ours |= {p.stem for f in folders if f not in PACKAGES for p in f.rglob("*")}
    return {name: file for name, file in imported(folders) if name not in ours}


def undeclared(folders: Iterable[Path], known: set[str]) -> dict[str, str]:
    """Imports whose distributions are not among the known ones, with a file that has each."""
    return {
        name: file
        for name, file in foreign(folders).items()
        if not {normal(d) for d in INSTALLED.get(name, [ABSENT.get(name, "")])} & known
    }


def test_what_is_installed_with_the_package_declares_every_import() -> None:
    """An import that another dependency happens to bring breaks on the day when that one drops it."""
    assert undeclared(PACKAGES, USERS).keys() == LOADERS


def test_tests_and_scripts_need_nothing_that_developers_do_not_install() -> None:
    found = undeclared([ROOT / "tests", ROOT / "scripts", ROOT / "examples"], ALL)
    assert found.keys() <= OTHERS


def test_everything_declared_for_users_is_imported() -> None:
    used = {normal(d) for name in foreign(PACKAGES) for d in INSTALLED.get(name, [ABSENT.get(name, "")])}
    assert USERS - used == UNNAMED.keys()


@pytest.mark.parametrize("name", sorted(USERS))
def test_every_dependency_of_users_says_what_it_is_for(name: str) -> None:
    lines = [line for line in TEXT.splitlines() if name in map(normal, re.findall(r'"([A-Za-z0-9._-]+)', line))]
    assert any("#" in line for line in lines)


def test_constraints_hold_a_version_of_all_that_make_installs() -> None:
    pinned = declared((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())
    (extras,) = re.findall(r"-e '\.\[([a-z,]+)\]'", (ROOT / "Makefile").read_text(encoding="utf-8"))
    wanted = list(PROJECT["project"]["dependencies"])
    waiting = extras.split(",")
    while waiting:
        listed = EXTRAS[waiting.pop()]
        wanted += listed
        waiting += [
            name for text in listed for found in re.findall(r"^headstock\[(.*)\]", text) for name in found.split(",")
        ]
    assert declared(wanted) - pinned == set()
