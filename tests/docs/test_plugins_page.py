"""Every block of docs/plugins.md is true: commands are run, their output is shown, and code is what is generated."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

from headstock.testing.environments import Environment, make_environment
from headstock.testing.family_checks import FAMILY_CHECKS
from headstock.testing.head_checks import HEAD_CHECKS
from headstock.testing.objective_checks import OBJECTIVE_CHECKS
from headstock.testing.plugin_checks import CHECKPOINT_CHECKS, OBJECTIVES_TRIED, PLUGIN_CHECKS
from headstock.testing.served_checks import SERVED_CHECKS

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()
BLOCKS = re.findall(r"(?:<!-- file: (\S+) -->\n)?```(\w+)\n(.*?)```", PAGE, re.DOTALL)


@dataclass
class Reader:
    """Somebody who types what the page says."""

    environment: Environment
    folder: Path
    home: Path

    def types(self, command: str) -> str:
        """Run one line and return what it prints; it must succeed."""
        words = shlex.split(command)
        if words[0] == "cd":
            self.folder /= words[1]
            return ""
        if words[:2] == ["pip", "install"]:
            assert words[2:] == ["--no-deps", "--no-build-isolation", "-e", "."]
            self.environment.install("-e", self.folder)
            return ""
        variables = {"HEADSTOCK_HOME": str(self.home), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        done = self.environment.run(*words, cwd=self.folder, variables=variables)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """In an empty folder, with this Headstock installed."""
    folder = tmp_path_factory.mktemp("page")
    return Reader(make_environment(folder / "environment"), folder, folder / "home")


def commands(block: str) -> list[tuple[str, list[str]]]:
    """Each command of a console block with the output that is shown below it."""
    found: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def is_shown(lines: list[str], text: str) -> bool:
    """True if `text` holds the lines in their order; `...` stands for anything, and any white space for any other."""
    words, at = " ".join(text.split()), 0
    for part in "\n".join(lines).split("..."):
        part = " ".join(part.split())
        at = words.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True


def test_the_page_can_be_typed_from_top_to_bottom(reader: Reader) -> None:
    """Every command succeeds and prints what is shown; every file has the lines that are shown, in order."""
    for file, language, block in BLOCKS:
        if language == "console":
            for command, shown in commands(block):
                printed = reader.types(command)
                assert is_shown(shown, printed), f"$ {command}\nprinted\n{printed}\nnot\n" + "\n".join(shown)
        else:
            assert file, f"which file is this block of?\n{block}"
            found = (reader.folder / file).read_text()
            for part in block.split("...\n"):
                assert part in found, f"{file} has no\n{part}"


def test_the_table_of_promises_is_the_kit() -> None:
    """Every check has its line, in the kit's order, and no line is about a check that does not exist."""
    rows = re.findall(r"^\| (plugin|family|head|objective) \| ([^|]+) \|", PAGE, re.MULTILINE)
    assert rows == [
        *(("plugin", check) for check in (*PLUGIN_CHECKS, OBJECTIVES_TRIED)),
        *(("family", check) for check in (*CHECKPOINT_CHECKS, *FAMILY_CHECKS, *SERVED_CHECKS)),
        *(("head", check) for check in HEAD_CHECKS),
        *(("objective", check) for check in OBJECTIVE_CHECKS),
    ]
