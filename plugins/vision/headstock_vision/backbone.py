"""The network under every image family: named taps, their measured shapes, and strict filling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

from headstock.checkpoint import load_strict
from headstock.errors import InvalidInput

Taps = dict[str, torch.Tensor]

_HEADS = ("classifier.", "decoder.")


class ImageBackbone(torch.nn.Module):
    """An image network whose `forward` returns its taps by name, for inputs of one fixed size."""

    image_shape: tuple[int, int, int]
    """Channels, height, width of `pixel_values`."""
    tap_shapes: dict[str, tuple[int, ...]]
    """Tap name to shape without the batch axis; set by `constructed`."""

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.tap_shapes = {}


AnyBackbone = TypeVar("AnyBackbone", bound=ImageBackbone)


def constructed(
    kind: Callable[[Mapping[str, Any], tuple[int, int]], AnyBackbone],
    architecture: Mapping[str, Any],
    size: tuple[int, int],
    what: str,
) -> AnyBackbone:
    """A network of this architecture for images of `size` (height, width), random, in eval mode, its taps measured.

    Raises `InvalidInput` for settings that no network can have.
    """
    try:
        backbone = kind(architecture, size).eval()
        with torch.no_grad():
            taps: Taps = backbone(pixel_values=torch.zeros(1, *backbone.image_shape))
    except InvalidInput:
        raise
    # transformers checks a configuration in many places and raises as many types.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise InvalidInput(f"config.json of {what!r} describes no network: {type(error).__name__}: {reason}") from error
    backbone.tap_shapes = {name: tuple(tensor.shape[1:]) for name, tensor in taps.items()}
    return backbone


def channels_last(features: torch.Tensor) -> torch.Tensor:
    """[n, d, h, w] to [n, h, w, d]: the last axis of every tap is its width."""
    return features.permute(0, 2, 3, 1)


def fill(
    backbone: torch.nn.Module,
    tensors: Mapping[str, torch.Tensor],
    what: str,
    *,
    prefix: str,
    rename: Callable[[str], str | None],
) -> None:
    """Fill `backbone` from a checkpoint's tensors. Raises `InvalidInput` unless every weight fits.

    `prefix` is what a checkpoint with a task head puts before the network's names; all else in it is that head.
    `rename` maps a name without the prefix to the backbone's own, or to None for what is left out on purpose.
    """
    has_prefix = any(name.startswith(prefix) for name in tensors)
    own: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if has_prefix and not name.startswith(prefix):
            new = None if name.startswith(_HEADS) else name
        else:
            new = rename(name.removeprefix(prefix))
        if new is not None:
            own[new] = tensor
    load_strict(backbone, own, rename=lambda name: name, what=repr(what))
