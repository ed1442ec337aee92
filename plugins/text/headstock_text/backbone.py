"""The network under every text family: named taps and strict filling."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch

from headstock.checkpoint import load_strict, read_weights
from headstock.errors import InvalidInput

Taps = dict[str, torch.Tensor]

# TensorFlow's names of layer norm survive in the oldest checkpoints.
_RENAMED = ((re.compile(r"(?<=LayerNorm\.)gamma$"), "weight"), (re.compile(r"(?<=LayerNorm\.)beta$"), "bias"))


class TextBackbone(torch.nn.Module):
    """A text network whose `forward` returns its taps by name; built from its family's architecture alone."""

    prefixes: ClassVar[tuple[str, ...]]
    """What a checkpoint with a task head puts before the network's names; the first one is the attribute's here."""
    dropped: ClassVar[re.Pattern[str]]
    """Names (without prefix, from their start) that are left out on purpose: buffers and heads."""
    embedding_names: ClassVar[tuple[str, ...]]
    """Prefixes of the parameters before the first layer."""
    layer_names: ClassVar[str]
    """Prefix of the layers' parameters; the layer's number follows."""
    last_names: ClassVar[tuple[str, ...]] = ()
    """Prefixes of the parameters behind the last layer."""
    width: int
    """Features per token."""
    layers: int

    def __init__(self, architecture: Mapping[str, Any]) -> None:
        """A network with random weights. Raises what transformers raises for impossible sizes."""
        super().__init__()


AnyBackbone = TypeVar("AnyBackbone", bound=TextBackbone)


def load_backbone(kind: type[AnyBackbone], weights: Path, architecture: Mapping[str, Any], what: str) -> AnyBackbone:
    """The network in eval mode, FP32, on the CPU; raises `InvalidInput` unless every weight fits."""
    tensors = read_weights(weights)
    # A checkpoint with a task head keeps the network under a prefix; all else in it is that head.
    found = [p for p in kind.prefixes if any(name.startswith(p) for name in tensors)]

    def rename(name: str) -> str | None:
        prefix = next((p for p in found if name.startswith(p)), "")
        if found and not prefix:
            return None
        name = name.removeprefix(prefix)
        if kind.dropped.match(name):
            return None
        for old, new in _RENAMED:
            name = old.sub(new, name)
        return f"{kind.prefixes[0]}{name}"

    backbone = constructed(kind, architecture, what)
    load_strict(backbone, tensors, rename=rename, what=repr(what))
    return backbone.eval()


def constructed(kind: type[AnyBackbone], architecture: Mapping[str, Any], what: str) -> AnyBackbone:
    """A network with random weights; raises `InvalidInput` for sizes that no network can have."""
    # Fresh weights are drawn before they are overwritten; that may not move the caller's random generator.
    with torch.random.fork_rng(devices=[]):
        try:
            return kind(architecture)
        # transformers checks a configuration in many places and raises as many types.
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            raise InvalidInput(
                f"config.json of {what!r} describes no network: {type(error).__name__}: {reason}"
            ) from error
