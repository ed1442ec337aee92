"""Options that say which column of a table plays which role; shared by the commands that read data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from headstock.errors import InvalidInput

F = TypeVar("F", bound=Callable[..., Any])

_ROLES = {
    "text": "Column with the text.",
    "image": "Column with the images' paths.",
    "audio": "Column with the recordings' paths.",
    "question": "Column with the question.",
    "context": "Column with the text that answers it.",
    "label": "Column with the label.",
    "labels": "Column with any number of labels.",
    "target": "Column with the number to predict.",
}


def column_options(command: F) -> F:
    """`--ROLE-column` for the usual roles, `--column ROLE=COLUMN` for all, and those that decide the split."""
    options = [
        click.option(f"--{role}-column", metavar="COLUMN", help=f"{text}  [default: guessed]")
        for role, text in _ROLES.items()
    ]
    options += [
        click.option("--column", metavar="ROLE=COLUMN", multiple=True, help="Column of any other role; repeatable."),
        click.option("--split-column", metavar="COLUMN", help="Column that says 'train' or 'validation'."),
        click.option("--group-column", metavar="COLUMN", help="Rows with one value here stay on one side."),
        click.option("--time-column", metavar="COLUMN", help="Column of dates or numbers; the latest rows validate."),
    ]
    # Decorators apply from the last to the first, and help lists in that order.
    for option in reversed(options):
        command = option(command)
    return command


def told_columns(asked: Mapping[str, Any]) -> dict[str, str]:
    """Role to column, of those that were given. Raises `InvalidInput` for a malformed or doubled one."""
    told = {role: asked[f"{role}_column"] for role in _ROLES if asked.get(f"{role}_column")}
    for text in asked.get("column", ()):
        role, equals, column = (part.strip() for part in text.partition("="))
        if not (role and equals and column):
            raise InvalidInput(
                f"--column {text!r} is not ROLE=COLUMN", fix="--column ROLE=COLUMN, for example --column spans=entities"
            )
        if role in told:
            raise InvalidInput(
                f"two columns are given for the {role}: {told[role]!r} and {column!r}",
                fix=f"leave --column {text} out",
            )
        told[role] = column
    return told
