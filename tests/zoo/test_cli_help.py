"""Every command explains itself: what it does, and what each of its options and arguments means."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from headstock.cli.main import cli

Named = tuple[str, click.Command]


def commands(command: click.Command = cli, path: tuple[str, ...] = ("headstock",)) -> Iterator[Named]:
    """Every command with what is typed for it, those of plugins among them."""
    yield " ".join(path), command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None, f"{' '.join(path)} lists {name}, which is no command"
            yield from commands(inner, (*path, name))


COMMANDS = dict(commands())


def test_the_tree_holds_the_commands_of_the_zoo_of_groups_and_of_plugins() -> None:
    assert {"headstock pull", "headstock licence why", "headstock serve", "headstock zero-shot"} <= COMMANDS.keys()


@pytest.mark.parametrize("typed", COMMANDS)
def test_every_command_and_option_has_a_help_text(typed: str) -> None:
    command = COMMANDS[typed]
    assert command.help
    options = [p for p in command.params if isinstance(p, click.Option)]
    assert [option.opts[0] for option in options if not option.help] == []


@pytest.mark.parametrize("typed", COMMANDS)
def test_every_argument_says_what_it_is(typed: str) -> None:
    """By its name in the usage line: NAME[:VERSION], FILE|FOLDER; a bare upper-case name must stand in the help."""
    arguments = [p for p in COMMANDS[typed].params if isinstance(p, click.Argument)]
    shown = [a.make_metavar(click.Context(COMMANDS[typed])) for a in arguments]
    explained = COMMANDS[typed].help or ""
    assert [a for a in shown if a.strip("[]. ").isalpha() and a.strip("[]. ") not in explained] == []


@pytest.mark.parametrize("typed", COMMANDS)
def test_where_a_document_goes_has_one_name(typed: str) -> None:
    """`--out`, everywhere."""
    options = [name for p in COMMANDS[typed].params if isinstance(p, click.Option) for name in p.opts]
    assert not {"--output", "--outfile", "-o"} & set(options)


@pytest.mark.parametrize("module", ["headstock", "headstock.cli.main"])
def test_the_module_is_the_command(module: str, tmp_path: Path) -> None:
    """Where the folder of `headstock` is not on the PATH, python -m runs the same."""
    line = [sys.executable, "-m", module, "show", "nothing"]
    environment = {**os.environ, "HEADSTOCK_HOME": str(tmp_path)}
    done = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: there is no catalogue yet\ntry:   headstock pull SOURCE --name NAME\n"
