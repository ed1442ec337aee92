"""The page about data shows what the command really prints, and names every format that is read."""

from __future__ import annotations

import re
from pathlib import Path

from click.testing import CliRunner

from headstock.cli.main import cli
from headstock.data import SUFFIXES

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")


def block(kind: str) -> str:
    found = re.search(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_example_prints_what_the_page_shows(tmp_path: Path) -> None:
    """From the page's own table and command."""
    (tmp_path / "visits.csv").write_text(block("csv"))
    command = re.search(r"`headstock (data check visits\.csv[^`]*)`", PAGE)
    assert command is not None
    arguments = [str(tmp_path / a) if a == "visits.csv" else a for a in command[1].split()]
    result = CliRunner().invoke(cli, arguments)
    assert result.stdout == block("text")
    assert result.exit_code == 1


def test_every_suffix_that_is_read_stands_on_the_page() -> None:
    """And none besides."""
    rows = [line for line in PAGE.splitlines() if line.startswith("| `.")]
    named = {suffix for line in rows for suffix in re.findall(r"`(\.\w+)`", line.split("|")[1])}
    assert named == set(SUFFIXES)
