"""The output layer that a speech checkpoint came with, as a head: transcripts without any training."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from headstock.backbone.restore import ORIGIN
from headstock.errors import InvalidInput
from headstock.finetune.made import MadeHead, Standing, check_licences, publish_made
from headstock.hookspecs import LinearForm
from headstock.names import Reference
from headstock.records import Version
from headstock.servable import load_backbone

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.digest import Digest
    from headstock.plugin_host import PluginHost

PLUGIN = "headstock-audio"
TAP = "frames"
# Family to the names of its output layer's weight and bias.
_LAYERS = {"wav2vec2": ("lm_head.weight", "lm_head.bias"), "deepspeech": ("output.weight", "output.bias")}
# The padding tokens that CTC checkpoints of transformers are saved with.
_BLANKS = ("<pad>", "[PAD]")
_SPACE = "|"


def make_transcriber(
    catalogue: Catalogue, host: PluginHost, backbone: Reference, name: str, say: Callable[[str], None]
) -> Version:
    """Publish the checkpoint's own output layer as the next version of `name`.

    Raises `InvalidInput` for a backbone that came without one, or that has been trained since.
    """
    version = catalogue.version(backbone)
    if version.kind != "backbone":
        raise InvalidInput(f"{version} is a model; expected a speech backbone", fix="headstock list")
    standing = Standing(version.name, load_backbone(catalogue, version.subject))
    form, alphabet = _output_layer(catalogue, standing)
    for warning in check_licences(catalogue, (standing,), name):
        say(f"warning: {warning}")
    head = MadeHead(
        type="speech-recognition",
        task="speech-recognition",
        plugin=PLUGIN,
        standing=standing,
        tap=TAP,
        form=form,
        spec={"kind": "transcript", "alphabet": alphabet},
        report={"labels": alphabet, "made_from": "the checkpoint's own output layer"},
        details={"labels": alphabet, "made_from": "the checkpoint's own output layer"},
    )
    return publish_made(catalogue, host, name, head)


def _output_layer(catalogue: Catalogue, standing: Standing) -> tuple[LinearForm, list[str]]:
    """Weights [d, characters + 1] with the blank last, and the characters."""
    import numpy as np
    from safetensors.numpy import load_file

    family = standing.backbone.identity.family
    files = catalogue.artefact(standing.digest).files
    if family not in _LAYERS:
        raise InvalidInput(
            f"backbone {standing.name!r} is of family {family!r}; expected one of {', '.join(_LAYERS)}",
            fix="headstock fine-tune --head speech-recognition",
        )
    if ORIGIN in files:
        raise InvalidInput(
            f"backbone {standing.name!r} was trained since it was pulled, so the output layer that it came with does "
            "not fit it any more",
            fix="name the backbone that was pulled, or headstock fine-tune --head speech-recognition",
        )
    tensors = load_file(catalogue.store.path(files["weights"]))
    weight_name, bias_name = _LAYERS[family]
    if weight_name not in tensors:
        raise InvalidInput(
            f"the checkpoint of {standing.name!r} has no output layer ({weight_name}); it was saved for another task",
            fix="headstock fine-tune --head speech-recognition, or pull a checkpoint that was trained to transcribe",
        )
    weight = tensors[weight_name].astype(np.float32)
    bias = tensors.get(bias_name, np.zeros(len(weight))).astype(np.float32)
    columns, alphabet = (_vocabulary if family == "wav2vec2" else _alphabet)(catalogue, files, len(weight), standing)
    return LinearForm(np.ascontiguousarray(weight[columns].T), np.ascontiguousarray(bias[columns])), alphabet


def _alphabet(
    catalogue: Catalogue, files: Mapping[str, Digest], outputs: int, standing: Standing
) -> tuple[list[int], list[str]]:
    """DeepSpeech: the characters in the order of its alphabet, the blank last already."""
    alphabet = [str(character) for character in _json(catalogue, files, "config")["alphabet"]]
    if len(alphabet) + 1 != outputs:
        raise InvalidInput(f"backbone {standing.name!r} has {outputs} outputs for {len(alphabet)} characters")
    return list(range(outputs)), alphabet


def _vocabulary(
    catalogue: Catalogue, files: Mapping[str, Digest], outputs: int, standing: Standing
) -> tuple[list[int], list[str]]:
    """Wav2Vec2: every token of vocab.json, `|` as the space, and the padding token as the blank.

    Sentence marks and `<unk>` stay and are read as they are written: that is what transformers' pipeline answers.
    """
    if "vocabulary" not in files:
        raise InvalidInput(
            f"the checkpoint of {standing.name!r} came without vocab.json, which says what its outputs mean",
            fix="pull a checkpoint that has the file",
        )
    index = {str(token): int(place) for token, place in _json(catalogue, files, "vocabulary").items()}
    blank = next((token for token in _BLANKS if token in index), None)
    if blank is None or max(index.values()) >= outputs:
        raise InvalidInput(
            f"vocab.json of {standing.name!r} has none of {list(_BLANKS)}, or names more than the {outputs} outputs "
            "there are"
        )
    places = sorted((place, token) for token, place in index.items() if token != blank)
    columns = [place for place, _ in places]
    return [*columns, index[blank]], [" " if token == _SPACE else token for _, token in places]


def _json(catalogue: Catalogue, files: Mapping[str, Digest], role: str) -> dict[str, Any]:
    value = json.loads(catalogue.store.read_bytes(files[role]))
    if not isinstance(value, dict):
        raise InvalidInput(f"the checkpoint's {role} is a {type(value).__name__}; expected an object")
    return value
