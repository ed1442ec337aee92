"""Tiny audio checkpoints with random weights, in the layouts of the real ones, for tests that need no download."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ALPHABET = (" ", *"abcdefghijklmnopqrstuvwxyz", "'")
"""Labels of English DeepSpeech checkpoints; the blank follows."""

# Frames of 20 ms as in the real ones. Inner sums of more than 128 products (24 channels x 12 steps): from there on the
# length of a batch can change how ONNX Runtime adds them up.
_SIZES: dict[str, Any] = {
    "conv_dim": [24, 24, 24],
    "conv_kernel": [10, 12, 12],
    "conv_stride": [5, 8, 8],
    "num_feat_extract_layers": 3,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_conv_pos_embeddings": 32,
    "num_conv_pos_embedding_groups": 4,
    # Ten times the usual: attention then looks at some frames more than others, so a wrong mask shows.
    "initializer_range": 0.2,
    "vocab_size": 32,
}
LAYER_NORM: Mapping[str, Any] = {
    "feat_extract_norm": "layer",
    "conv_bias": True,
    "do_stable_layer_norm": True,
}
"""What the large models (lv60, XLSR) set otherwise than the base ones."""


def make_tiny_wav2vec2(
    directory: Path, *, seed: int = 0, head: bool = True, settings: Mapping[str, Any] | None = None
) -> Path:
    """A Wav2Vec 2.0 encoder with a CTC head, as transformers saves it; returns `directory`.

    `settings` are keys of its configuration to set otherwise, e.g. `LAYER_NORM`; `head=False` saves the bare network.
    """
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC, Wav2Vec2Model

    config = Wav2Vec2Config(**{**_SIZES, **(settings or {})})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Wav2Vec2ForCTC(config) if head else Wav2Vec2Model(config)
        with torch.no_grad():
            for parameter in network.parameters():
                # Zero biases and unit gains would hide a wrong order of operations.
                if parameter.ndim == 1:
                    parameter.add_(torch.empty_like(parameter).uniform_(-0.2, 0.2))
    network.save_pretrained(directory)
    large = config.feat_extract_norm == "layer"
    extractor: Any = Wav2Vec2FeatureExtractor
    extractor(return_attention_mask=large).save_pretrained(directory)
    return directory


def make_tiny_deepspeech(
    directory: Path, *, seed: int = 0, hidden: int = 24, alphabet: Sequence[str] = ALPHABET
) -> Path:
    """A DeepSpeech network as `headstock convert-deepspeech` writes it; returns `directory`."""
    import numpy as np
    from safetensors.numpy import save_file

    random = np.random.default_rng([13, seed])
    sizes = {"dense1": (26 * 19, hidden), "dense2": (hidden, hidden), "dense3": (hidden, hidden)}
    sizes |= {"dense5": (hidden, hidden), "output": (hidden, len(alphabet) + 1)}
    shapes: dict[str, tuple[int, ...]] = {f"{n}.weight": (out, width) for n, (width, out) in sizes.items()}
    shapes |= {f"{n}.bias": (out,) for n, (_, out) in sizes.items()}
    for kind in ("ih", "hh"):
        shapes |= {f"lstm.weight_{kind}_l0": (4 * hidden, hidden), f"lstm.bias_{kind}_l0": (4 * hidden,)}
    tensors = {
        name: (random.standard_normal(shape) * (2.0 / shape[-1]) ** 0.5).astype(np.float32)
        for name, shape in shapes.items()
    }
    directory.mkdir(parents=True, exist_ok=True)
    save_file(tensors, directory / "model.safetensors")
    config = {"model_type": "deepspeech", "hidden_size": hidden, "alphabet": list(alphabet)}
    (directory / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    return directory
