"""A tiny CLIP checkpoint of two towers with random weights, as transformers saves it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headstock.testing.tiny_text import byte_pairs

SIZE = 32
"""Edge in pixels of the images that the tiny vision tower sees."""


def make_tiny_clip(
    directory: Path, *, seed: int = 0, tower: str = "", settings: Mapping[str, Any] | None = None
) -> Path:
    """A CLIP of two layers per tower and a space of 12 features; returns `directory`.

    `tower` (`text` or `vision`) saves that tower alone; `settings` are keys of the whole configuration to set
    otherwise, those of a tower under `text_config` and `vision_config`.
    """
    import torch
    from transformers import CLIPConfig, CLIPModel, CLIPTextModelWithProjection, CLIPVisionModelWithProjection

    vocabulary, merges = byte_pairs((), ("<|startoftext|>", "<|endoftext|>"), suffix="</w>")
    start, end = vocabulary["<|startoftext|>"], vocabulary["<|endoftext|>"]
    changes = dict(settings or {})
    common: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    common |= {"projection_dim": 12, "initializer_range": 0.3}
    text = {**common, "vocab_size": len(vocabulary), "max_position_embeddings": 32}
    text |= {"bos_token_id": start, "eos_token_id": end, "pad_token_id": end}
    config = CLIPConfig(
        text_config=text | changes.pop("text_config", {}),
        vision_config={**common, "image_size": SIZE, "patch_size": 8} | changes.pop("vision_config", {}),
        **{"projection_dim": 12, "initializer_factor": 3.0, **changes},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: Any = CLIPModel(config)
        with torch.no_grad():
            for parameter in network.parameters():
                # Zero biases and unit gains would hide a wrong order of operations.
                if parameter.ndim == 1:
                    parameter.add_(torch.empty_like(parameter).uniform_(-0.2, 0.2))
    if tower:
        kind = CLIPTextModelWithProjection if tower == "text" else CLIPVisionModelWithProjection
        alone = kind(getattr(config, f"{tower}_config"))
        state = network.state_dict()
        alone.load_state_dict({name: state[name] for name in alone.state_dict()})
        network = alone
    network.save_pretrained(directory)
    _save_tokenizer(directory, vocabulary, merges)
    _save_processor(directory)
    return directory


def _save_tokenizer(directory: Path, vocabulary: Mapping[str, int], merges: list[tuple[str, str]]) -> None:
    from transformers import CLIPTokenizer

    kind: Any = CLIPTokenizer
    tokenizer = kind(vocab=dict(vocabulary), merges=merges)
    tokenizer.backend_tokenizer.save(str(directory / "tokenizer.json"))
    settings = {"model_max_length": 32, "pad_token": "<|endoftext|>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def _save_processor(directory: Path) -> None:
    from transformers import CLIPImageProcessorPil

    processor: Any = CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    processor.save_pretrained(directory)
