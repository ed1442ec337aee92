"""Every `headstock` command line in the README and on the pages can be typed: the command and its options exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from headstock.cli.main import cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CHANGELOG.md"]
SHELL = re.compile(r"[|;&<>]|#\s")


def lines(page: Path) -> Iterator[str]:
    """Command lines in blocks and in running text, without what a shell does with them."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```.*?^```|(?:^ {4}.*\n)+", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`(headstock [^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    for line in [*(line for block in blocks for line in block.splitlines()), *(" ".join(i.split()) for i in inline)]:
        found = re.match(r"\s*(?:\$ )?headstock (.*)", line)
        if found:
            yield SHELL.split(found[1])[0].strip()


def fault(line: str) -> str:
    """What click would say of the line, or nothing. Upper-case words and dots stand for what a reader fills in."""
    command: click.Command = cli
    words, path = shlex.split(line.replace("…", "...")), ["headstock"]
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        inner = command.get_command(click.Context(command), words[0])
        if inner is None:
            return f"{' '.join(path)} has no command {words[0]!r}"
        command, path, words = inner, [*path, words[0]], words[1:]
    context = click.Context(command)
    try:
        found, _, _ = command.make_parser(context).parse_args([w for w in words if w.strip(".")])
    except click.UsageError as error:
        return str(error.message)
    choices = {p.name: p.type.choices for p in command.params if isinstance(p.type, click.Choice)}
    wrong = [f"{name} {value!r}" for name, value in found.items() if isinstance(value, str)
             and name in choices and value not in choices[name] and not value.isupper()]  # fmt: skip
    return ", ".join(wrong)


@pytest.mark.parametrize("page", [p for p in PAGES if p.exists()], ids=lambda p: p.name)
def test_every_command_line_on_the_page_can_be_typed(page: Path) -> None:
    found = {line: fault(line) for line in lines(page)}
    assert {line: said for line, said in found.items() if said} == {}


def test_the_readme_shows_commands() -> None:
    assert len(list(lines(ROOT / "README.md"))) > 5
