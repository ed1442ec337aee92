"""How a command ends: its exit code, and every failure that a person can act on in two lines on stderr."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from headstock.errors import HeadstockError, InvalidInput


def run(command: click.Command, name: str, prog_name: str | None = None) -> NoReturn:
    """Run what `sys.argv` asks of the command and exit: 0 done, 1 failed, 2 bad input, 130 interrupted.

    `name` is what a person types for it, `prog_name` what usage lines call it where click cannot tell.
    """
    try:
        code = command.main(prog_name=prog_name, standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Abort:
        click.echo("aborted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except HeadstockError as error:
        click.echo(f"error: {error.message}", err=True)
        click.echo(f"try:   {error.fix or f'{_typed(command, name, sys.argv[1:])} --help'}", err=True)
        sys.exit(InvalidInput.exit_code if isinstance(error, InvalidInput) else error.exit_code)
    except BrokenPipeError:
        # The reader (`| head`) went away: not our failure, and nothing more can be written.
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        # A full disk, a folder that may not be written: nothing a command could foresee, nor a fault in it.
        place = f": {error.filename!r}" if error.filename is not None else ""
        click.echo(f"error: {error.strerror or error}{place}", err=True)
        click.echo("try:   the same again once that is put right; nothing that was acknowledged is lost", err=True)
        sys.exit(1)


def _typed(command: click.Command, name: str, arguments: Sequence[str]) -> str:
    """`headstock licence why`: the command that the arguments begin with."""
    words, found = [name], command
    for word in arguments:
        inner = found.get_command(click.Context(found), word) if isinstance(found, click.Group) else None
        if inner is None:
            break
        words, found = [*words, word], inner
    return " ".join(words)
