"""Commands for speech: transcribers that nobody trains, DeepSpeech's old checkpoints, and its graph for streams."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("transcriber")
@click.option("--backbone", required=True, metavar="NAME[:V]", help="Speech backbone, pulled with its output layer.")
@click.option("--name", required=True, help="Name of the model; an existing one gets its next version.")
def transcriber(backbone: str, name: str) -> None:
    """Make a model that transcribes with the output layer that a wav2vec2 or deepspeech checkpoint came with.

    Nothing is trained; other heads share the backbone as always.

    \b
    headstock pull hf:facebook/wav2vec2-base-960h --name wav2vec2
    headstock transcriber --backbone wav2vec2 --name english
    """
    from headstock.catalogue import Catalogue
    from headstock.names import Reference, check_name
    from headstock.plugin_host import open_host
    from headstock_audio.heads.pretrained import make_transcriber

    check_name(name)
    with Catalogue.open() as catalogue:
        version = make_transcriber(
            catalogue, open_host(), Reference.parse(backbone), name, lambda line: click.echo(line, err=True)
        )
    characters = "".join(label for label in version.details["labels"] if len(label) == 1)
    click.echo(f"{version}\n  {len(characters)} characters: {characters!r}\nnext:\n  headstock predict {version} FILE")


@click.command("convert-deepspeech")
@click.argument("checkpoint", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def convert_deepspeech(checkpoint: Path, folder: Path) -> None:
    """Convert a Mozilla DeepSpeech 0.9 CHECKPOINT folder (with its alphabet.txt) into FOLDER."""
    from headstock_audio.deepspeech.convert import convert

    convert(checkpoint, folder)
    click.echo(f"wrote config.json and model.safetensors; next: headstock pull path:{folder} --name NAME")


@click.command("export-deepspeech-stream")
@click.argument("name", metavar="NAME[:V]")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="ONNX file to write.")
@click.option(
    "--steps", type=click.IntRange(1, 4096), default=16, show_default=True, help="Frames per call, 20 ms each."
)
def export_deepspeech_stream(name: str, out: Path, steps: int) -> None:
    """Write the DeepSpeech backbone NAME as an ONNX graph for streams, its recurrent state in and out.

    Inputs: input_node [1, steps, 19, 26] (frames with nine neighbours on each side, zeros at both ends of the sound),
    previous_state_c and previous_state_h [1, d], zeros at first. Outputs: logits [1, steps, characters + 1],
    new_state_c and new_state_h, which go into the next call.
    """
    from headstock.backbone.restore import restore
    from headstock.catalogue import Catalogue
    from headstock.errors import InvalidInput
    from headstock.names import Reference
    from headstock.plugin_host import open_host

    with Catalogue.open(create=False) as catalogue:
        version = catalogue.version(Reference.parse(name))
        if version.kind != "backbone":
            raise InvalidInput(f"{version} is a model; expected a deepspeech backbone", fix="headstock list")
        module = restore(catalogue, open_host(), version.subject, str(version)).module
    from headstock_audio.deepspeech.module import DeepSpeechBackbone
    from headstock_audio.deepspeech.stream import export_stream

    if not isinstance(module, DeepSpeechBackbone):
        raise InvalidInput(f"{version} is no deepspeech backbone; only deepspeech has a state to carry on")
    difference = export_stream(module, out, steps)
    click.echo(f"wrote {out.name}: {steps} frames a call, at most {difference:.1e} from torch")
