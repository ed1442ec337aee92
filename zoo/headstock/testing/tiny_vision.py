"""Tiny image checkpoints with random but live weights, in the layouts that the hub uses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

SIZE = 32
"""Edge in pixels of the images that the tiny networks see; `make_tiny_vgg`'s sees twice that."""
CLASSES = 3
_STATISTICS_PASSES = 4


def make_tiny_resnet(
    directory: Path, *, seed: int = 0, head: bool = True, settings: Mapping[str, Any] | None = None
) -> Path:
    """A ResNet of three stages of bottleneck blocks with a 3-class head, as transformers saves it; returns `directory`.

    `settings` are keys of its configuration to set otherwise; `head=False` saves the bare network.
    """
    from transformers import (
        ConvNextImageProcessorPil,
        ResNetConfig,
        ResNetForImageClassification,
        ResNetModel,
    )

    sizes = {"embedding_size": 8, "hidden_sizes": [16, 16, 32], "depths": [1, 2, 1], "num_labels": CLASSES}
    config = ResNetConfig(**{**sizes, **(settings or {})})
    with _own_numbers(seed):
        network = ResNetForImageClassification(config) if head else ResNetModel(config)
        _live(network, (config.num_channels, SIZE, SIZE))
    network.save_pretrained(directory)
    processor = ConvNextImageProcessorPil(size={"shortest_edge": SIZE}, **_normalisation(config.num_channels))
    processor.save_pretrained(directory)
    return directory


def make_tiny_efficientnet(
    directory: Path, *, seed: int = 0, head: bool = True, settings: Mapping[str, Any] | None = None
) -> Path:
    """An EfficientNet of three stages with a 3-class head, as transformers saves it; returns `directory`."""
    from transformers import (
        EfficientNetConfig,
        EfficientNetForImageClassification,
        EfficientNetImageProcessorPil,
        EfficientNetModel,
    )

    sizes = {
        "width_coefficient": 0.02,
        "depth_coefficient": 1.0,
        "kernel_sizes": [3, 3, 5],
        "in_channels": [400, 400, 800],
        "out_channels": [400, 800, 1200],
        "strides": [1, 2, 2],
        "num_block_repeats": [1, 2, 1],
        "expand_ratios": [1, 4, 4],
        "hidden_dim": 24,
        # With the usual 0.02 every layer's variance would drown in its normalisation's epsilon.
        "initializer_range": 0.1,
        "image_size": SIZE,
        "num_labels": CLASSES,
    }
    config = EfficientNetConfig(**{**sizes, **(settings or {})})
    with _own_numbers(seed):
        network = EfficientNetForImageClassification(config) if head else EfficientNetModel(config)
        _live(network, (config.num_channels, SIZE, SIZE))
    network.save_pretrained(directory)
    EfficientNetImageProcessorPil(size={"height": SIZE, "width": SIZE}).save_pretrained(directory)
    return directory


def make_tiny_vit(
    directory: Path, *, seed: int = 0, head: bool = True, settings: Mapping[str, Any] | None = None
) -> Path:
    """A ViT of two layers and 16 patches with a 3-class head, as transformers saves it; returns `directory`."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil, ViTModel

    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "image_size": SIZE,
        "patch_size": 8,
        "num_labels": CLASSES,
        # With the usual 0.02 so small a network hardly looks at its picture.
        "initializer_range": 0.3,
    }
    config = ViTConfig(**{**sizes, **(settings or {})})
    with _own_numbers(seed):
        network = ViTForImageClassification(config) if head else ViTModel(config)
    network.save_pretrained(directory)
    ViTImageProcessorPil(size={"height": SIZE, "width": SIZE}).save_pretrained(directory)
    return directory


def make_tiny_vgg(
    directory: Path, *, seed: int = 0, batch_norm: bool = True, settings: Mapping[str, Any] | None = None
) -> Path:
    """A VGG of three convolutions with a 3-class head, as timm saves it; returns `directory`.

    `settings` are keys of config.json to set otherwise.
    """
    from safetensors.torch import save_file

    with _own_numbers(seed):
        state, width = _vgg_state(batch_norm)
    directory.mkdir(parents=True, exist_ok=True)
    save_file(state, directory / "model.safetensors")
    config = {
        "architecture": "vgg11_bn" if batch_norm else "vgg11",
        "num_classes": CLASSES,
        "num_features": width,
        "model_args": {"cfg": list(_VGG_PLAN), "head_hidden_size": _VGG_HIDDEN},
        "pretrained_cfg": {
            "tag": "tiny",
            "input_size": [3, 2 * SIZE, 2 * SIZE],
            "interpolation": "bilinear",
            "crop_pct": 0.875,
            "crop_mode": "center",
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "license": "bsd-3-clause",
        },
    }
    (directory / "config.json").write_text(json.dumps({**config, **(settings or {})}))
    return directory


_VGG_PLAN: tuple[int | str, ...] = (8, "M", 16, "M", 16, "M")
_VGG_HIDDEN = 24


def _vgg_state(batch_norm: bool) -> tuple[dict[str, torch.Tensor], int]:
    """Weights under timm's names, and the number of channels that the convolutions end with."""
    from torch import nn

    layers: list[nn.Module] = []
    width = 3
    for step in _VGG_PLAN:
        if isinstance(step, str):
            layers.append(nn.MaxPool2d(2))
            continue
        norm = [nn.BatchNorm2d(step)] if batch_norm else []
        layers += [nn.Conv2d(width, step, 3, padding=1), *norm, nn.ReLU()]
        width = step
    features = nn.Sequential(*layers)
    _live(features, (3, 2 * SIZE, 2 * SIZE))
    parts = {
        "features": features,
        "pre_logits.fc1": nn.Conv2d(width, _VGG_HIDDEN, 7),
        "pre_logits.fc2": nn.Conv2d(_VGG_HIDDEN, _VGG_HIDDEN, 1),
        "head.fc": nn.Linear(_VGG_HIDDEN, CLASSES),
    }
    named = ((prefix, part.state_dict().items()) for prefix, part in parts.items())
    return {f"{prefix}.{name}": tensor.contiguous() for prefix, items in named for name, tensor in items}, width


@contextmanager
def _own_numbers(seed: int) -> Iterator[None]:
    """Draw from a generator of its own: making a checkpoint changes no other test's numbers."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _normalisation(channels: int) -> dict[str, Any]:
    if channels == 1:
        return {"image_mean": [0.5], "image_std": [0.25]}
    return {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def _live(network: torch.nn.Module, shape: tuple[int, int, int]) -> None:
    """Give the network statistics of its own.

    transformers draws EfficientNet's BatchNorm weights like those of a linear layer, around zero: some layers on,
    everything is 1e-44, and any two computations agree.
    """
    import torch

    channels, *size = shape
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.uniform_(-0.2, 0.2)
        network.train()
        for _ in range(_STATISTICS_PASSES):
            # Pictures are smooth; statistics of pure noise would blow their features up layer by layer.
            smooth = torch.nn.functional.interpolate(torch.randn(8, channels, 4, 4), size, mode="bilinear")
            network(smooth + 0.3 * torch.randn(8, channels, *size))
        network.eval()
