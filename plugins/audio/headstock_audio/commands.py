"""`headstock convert-deepspeech`: Mozilla's checkpoint folder to one that `headstock pull` takes."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("convert-deepspeech")
@click.argument("checkpoint", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def convert_deepspeech(checkpoint: Path, folder: Path) -> None:
    """Convert a Mozilla DeepSpeech 0.9 CHECKPOINT folder (with its alphabet.txt) into FOLDER."""
    from headstock_audio.deepspeech.convert import convert

    convert(checkpoint, folder)
    click.echo(f"wrote config.json and model.safetensors; next: headstock pull path:{folder} --name NAME")
