"""From Mozilla's checkpoint to safetensors: the same numbers under the module's names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstock.errors import InvalidInput, Unsupported
from headstock_audio.deepspeech.alphabet import read_alphabet
from headstock_audio.deepspeech.checkpoint import Checkpoint, find

Floats = npt.NDArray[np.float32]

ALPHABET = "alphabet.txt"
_DENSE = {
    "layer_1": "dense1",
    "layer_2": "dense2",
    "layer_3": "dense3",
    "layer_5": "dense5",
    "layer_6": "output",
}
_CELL = "cudnn_lstm/rnn/multi_rnn_cell/cell_0/cudnn_compatible_lstm_cell"


def is_checkpoint(root: Path) -> bool:
    """True if the folder holds a TensorFlow checkpoint with what only DeepSpeech puts beside it; names only."""
    marks = (ALPHABET, "best_dev_checkpoint")
    return any(root.glob("*.index")) and any((root / mark).is_file() for mark in marks)


def read_config(root: Path) -> dict[str, Any]:
    """The `config.json` that a checkpoint folder stands for."""
    checkpoint = Checkpoint(find(root))
    shapes = {name: checkpoint.entries[name].shape for name in _names() if name in checkpoint}
    missing = [name for name in _names() if name not in shapes]
    if missing:
        raise InvalidInput(
            f"checkpoint {checkpoint.prefix.name!r} lacks {missing[:3]}; expected Mozilla DeepSpeech 0.7 to 0.9"
        )
    if any("LayerNorm" in name for name in checkpoint.entries):
        raise Unsupported(f"checkpoint {checkpoint.prefix.name!r} was trained with --layer_norm; expected without")
    if not (root / ALPHABET).is_file():
        # The released archives lack it, and its labels cannot be told from the weights.
        raise InvalidInput(
            f"checkpoint {checkpoint.prefix.name!r} has no {ALPHABET!r} beside it, so its outputs have no meaning",
            fix=f"copy the {ALPHABET} that it was trained with there (English: data/{ALPHABET} of DeepSpeech's source)",
        )
    alphabet = read_alphabet(root / ALPHABET)
    hidden, outputs = shapes["layer_6/weights"]
    if outputs != len(alphabet) + 1:
        raise InvalidInput(
            f"the checkpoint has {outputs} outputs but {ALPHABET!r} has {len(alphabet)} labels and the blank",
            fix=f"put the {ALPHABET} that it was trained with beside it",
        )
    return {"model_type": "deepspeech", "hidden_size": hidden, "alphabet": alphabet}


def read_tensors(root: Path) -> dict[str, Floats]:
    """The checkpoint's weights under the module's names, row-major FP32."""
    checkpoint = Checkpoint(find(root))
    tensors: dict[str, Floats] = {}
    for old, new in _DENSE.items():
        tensors[f"{new}.weight"] = _float(checkpoint.read(f"{old}/weights").T)
        tensors[f"{new}.bias"] = _float(checkpoint.read(f"{old}/bias"))
    kernel, bias = _gates(checkpoint.read(f"{_CELL}/kernel").T), _gates(checkpoint.read(f"{_CELL}/bias"))
    inputs = kernel.shape[1] // 2
    tensors["lstm.weight_ih_l0"] = _float(kernel[:, :inputs])
    tensors["lstm.weight_hh_l0"] = _float(kernel[:, inputs:])
    # TensorFlow's cell has one bias; its forget bias is 0 in DeepSpeech.
    tensors["lstm.bias_ih_l0"] = bias
    tensors["lstm.bias_hh_l0"] = np.zeros_like(bias)
    return tensors


def convert(source: Path, target: Path) -> None:
    """Write `config.json` and `model.safetensors` of the checkpoint folder `source` into the folder `target`.

    The same checkpoint gives the same bytes. Raises what reading it raises, and `InvalidInput` if `target` has them.
    """
    from safetensors.numpy import save_file

    config, tensors = read_config(source), read_tensors(source)
    if any((target / name).exists() for name in ("config.json", "model.safetensors")):
        raise InvalidInput(f"folder {target.name!r} holds a checkpoint already", fix="name an empty folder")
    target.mkdir(parents=True, exist_ok=True)
    save_file(tensors, target / "model.safetensors")
    for name in ("LICENSE", "LICENCE", "README.md"):
        # What is said about the licence goes along.
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    (target / "config.json").write_text(json.dumps(config, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _names() -> list[str]:
    return [f"{layer}/{part}" for layer in _DENSE for part in ("weights", "bias")] + [
        f"{_CELL}/kernel",
        f"{_CELL}/bias",
    ]


def _gates(values: npt.NDArray[Any]) -> Floats:
    """First axis from TensorFlow's order (input, candidate, forget, output) to torch's, which swaps the middle two."""
    i, c, f, o = np.split(values, 4)
    return _float(np.concatenate([i, f, c, o]))


def _float(values: npt.NDArray[Any]) -> Floats:
    return np.ascontiguousarray(values, np.float32)
