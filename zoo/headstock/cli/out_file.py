"""Files that commands write when they are asked to, instead of standard output or beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from headstock.errors import InvalidInput

F = TypeVar("F", bound=Callable[..., Any])


def out_option(command: F) -> F:
    """The `--out FILE` option of every command that prints one document."""
    option = click.option(
        "--out",
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File to write.  [default: standard output]",
    )
    return option(command)


def write_out(path: Path, text: str, what: str, *, option: str = "--out") -> None:
    """Write the text as it is, in UTF-8; raises `InvalidInput` that names what could not be written and why."""
    try:
        # Bytes: equal documents are equal files, whatever a platform thinks of line ends.
        path.write_bytes(text.encode())
    except OSError as error:
        raise InvalidInput(
            f"cannot write the {what} to {str(path)!r}: {error.strerror}",
            fix=f"{option} with a file that may be written, in a folder that exists",
        ) from error
