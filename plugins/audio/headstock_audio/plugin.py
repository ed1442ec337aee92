"""The hooks of the audio plugin: its families, its head types, and the command that converts Mozilla's checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from headstock.hookspecs import BackboneFamily, HeadType, LicenceRecord, hookimpl
from headstock_audio.deepspeech import DeepSpeechFamily
from headstock_audio.heads import HEADS
from headstock_audio.licences import RECORDS
from headstock_audio.wav2vec2 import Wav2Vec2Family

if TYPE_CHECKING:
    import click


@hookimpl
def backbone_families() -> Sequence[BackboneFamily]:
    """Families of this plugin."""
    return [Wav2Vec2Family(), DeepSpeechFamily()]


@hookimpl
def head_types() -> Sequence[HeadType]:
    """Head types of this plugin."""
    return HEADS


@hookimpl
def cli_commands() -> Sequence[click.Command]:
    """Commands of this plugin."""
    from headstock_audio.commands import convert_deepspeech, export_deepspeech_stream, transcriber

    return [transcriber, convert_deepspeech, export_deepspeech_stream]


@hookimpl
def licence_records() -> Sequence[LicenceRecord]:
    """Evidence about weights, besides what the manifest says of its presets."""
    return RECORDS
