"""The hooks of the tabular plugin: its family, its head types, its objective, and the command that pretrains it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from headstock.hookspecs import BackboneFamily, HeadType, Objective, hookimpl
from headstock_tabular.heads import HEADS
from headstock_tabular.objectives import OBJECTIVES
from headstock_tabular.tabular import TabularFamily

if TYPE_CHECKING:
    import click


@hookimpl
def backbone_families() -> Sequence[BackboneFamily]:
    """Families of this plugin."""
    return [TabularFamily()]


@hookimpl
def head_types() -> Sequence[HeadType]:
    """Head types of this plugin."""
    return HEADS


@hookimpl
def objectives() -> Sequence[Objective]:
    """Objectives of this plugin."""
    return OBJECTIVES


@hookimpl
def cli_commands() -> Sequence[click.Command]:
    """Commands of this plugin."""
    from headstock_tabular.commands import pretrain_command

    return [pretrain_command]
