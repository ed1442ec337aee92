"""The options that say which use a licence question is about, shared by every command that asks one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from headstock.licences.context import Context
    from headstock.licences.policy import Policy
    from headstock.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--purpose", type=click.Choice(["research", "internal", "commercial"]), help="What it is for."),
    click.option("--audience", type=click.Choice(["self", "tenant", "public"]), help="Who gets the answers."),
    click.option("--act", type=click.Choice(["train", "serve", "distribute"]), help="What is done."),
    click.option("--territory", help="Where you are established: DE, US, EU..."),
    click.option("--sector", help="Field of use, in the words of the licence records."),
    click.option("--scale", type=int, help="Monthly users of your products."),
    click.option("--policy", "policy_file", type=click.Path(path_type=Path), help="Another policy file."),
)

NAMES = ("purpose", "audience", "act", "territory", "sector", "scale")


def use_options(command: F) -> F:
    """Add the options; the command takes `policy_file` and the fields of a context as keywords."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def policy_of(settings: Settings, use: dict[str, Any]) -> Policy:
    """The policy that the options name, else the installation's own."""
    from headstock.licences.policy import Policy

    file = use.get("policy_file")
    return Policy.load(settings) if file is None else Policy.read(file)


def context_of(policy: Policy, use: dict[str, Any]) -> Context:
    """The policy's context with what the options say."""
    from headstock.licences.context import Context

    return Context.from_mapping({k: use[k] for k in NAMES if use.get(k) is not None}, policy.context)


def stated(use: dict[str, Any]) -> bool:
    """Whether any option says something about the use."""
    return any(use.get(name) is not None for name in NAMES)
