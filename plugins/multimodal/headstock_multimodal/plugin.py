"""The hooks of the multimodal plugin: which families and commands it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from headstock.hookspecs import BackboneFamily, LicenceRecord, RecipeCheck, hookimpl
from headstock_multimodal.clip_text import ClipTextFamily
from headstock_multimodal.clip_vision import ClipVisionFamily
from headstock_multimodal.licences import RECORDS

if TYPE_CHECKING:
    import click


@hookimpl
def backbone_families() -> Sequence[BackboneFamily]:
    """Families of this plugin."""
    return [ClipTextFamily(), ClipVisionFamily()]


@hookimpl
def cli_commands() -> Sequence[click.Command]:
    """Commands of this plugin."""
    from headstock_multimodal.align_command import align_command
    from headstock_multimodal.commands import vectors_command, zero_shot_command

    return [zero_shot_command, vectors_command, align_command]


@hookimpl
def recipe_checks() -> Sequence[RecipeCheck]:
    """Checks of recipes that only a command of this plugin runs."""
    from headstock_multimodal.align_recipe import AlignmentCheck

    return [AlignmentCheck()]


@hookimpl
def licence_records() -> Sequence[LicenceRecord]:
    """Evidence about weights, besides what the manifest says of its presets."""
    return RECORDS
