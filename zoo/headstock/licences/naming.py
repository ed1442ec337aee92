"""Duties on names: a model that is made available may have to bear its parent's name."""

from __future__ import annotations

from collections.abc import Iterable

from headstock.errors import FailedPrecondition
from headstock.licences.judge import Duty


def check_published_name(name: str, duties: Iterable[Duty]) -> None:
    """Raise `FailedPrecondition` unless a public name begins as the licences of its lineage ask.

    Case and separators do not matter: `llama-3-intents` begins with `Llama 3`.
    """
    error = misnamed(name, duties)
    if error is not None:
        raise error


def misnamed(name: str, duties: Iterable[Duty]) -> FailedPrecondition | None:
    """What `check_published_name` raises, for those who only warn of it."""
    for duty in sorted(duties):
        if duty.duty == "name-prefix" and not _plain(name).startswith(_plain(duty.payload)):
            return FailedPrecondition(
                f"{duty.licence} asks that a model made with it and made available has a name that begins with "
                f"{duty.payload!r}; found {name!r}",
                fix=f"publish it as {duty.payload.lower().replace(' ', '-')}-{name}",
            )
    return None


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
