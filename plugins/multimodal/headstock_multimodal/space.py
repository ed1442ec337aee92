"""The embedding space that two towers of one checkpoint share, as part of each one's architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headstock.checkpoint import weights_file
from headstock.digest import Digest, digest_json, digest_tensors
from headstock.errors import InvalidInput
from headstock.hookspecs import SourceFiles

if TYPE_CHECKING:
    import torch

# Both projections name the axes of the space; the scale turns cosines in it into logits.
_AXES = ("text_projection.weight", "visual_projection.weight")
_SCALE = "logit_scale"


def embedding_space(files: SourceFiles) -> dict[str, Any] | None:
    """The space of a checkpoint with both towers, or None for a tower by itself, which nothing can be compared with.

    `digest` is equal for towers whose embeddings may be compared, `width` is the space's, and `logit_scale` the natural
    logarithm of what a cosine is multiplied with before the softmax of a zero-shot classifier; published ones multiply
    with 100. Raises `InvalidInput` for a damaged file.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    path = weights_file(files.root, files.spec)
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            if not {*_AXES, _SCALE} <= names:
                return None
            tensors = {name: file.get_tensor(name).to(torch.float32).contiguous() for name in (*_AXES, _SCALE)}
    except (SafetensorError, ValueError) as error:
        raise InvalidInput(f"{path.name} is not a readable safetensors file: {error}") from error
    return space_of(tensors, files.spec)


def space_of(tensors: Mapping[str, torch.Tensor], what: str) -> dict[str, Any]:
    """The space of both projections and their scale, FP32, by their names in a checkpoint.

    Raises `InvalidInput` if the two project to different widths; `what` is theirs.
    """
    widths = [tensors[name].shape[0] for name in _AXES]
    if widths[0] != widths[1]:
        raise InvalidInput(f"{what!r} projects texts to {widths[0]} and images to {widths[1]} features")
    digest = digest_tensors(
        {name: ("F32", tuple(t.shape), t.reshape(-1).numpy().tobytes()) for name, t in tensors.items()}
    )
    return {"digest": digest, "width": widths[0], "logit_scale": float(tensors[_SCALE])}


def own_space(architecture: Mapping[str, Any], weights: Digest) -> Mapping[str, Any]:
    """The architecture of a tower that was trained by itself, to weights of that digest.

    What it makes of its inputs has moved and the other tower has not, so it is alone in a space of its own.
    """
    space = architecture.get("space")
    if space is None:
        return architecture
    return {**architecture, "space": moved_space(space, weights)}


def moved_space(space: Mapping[str, Any], weights: Digest | Sequence[Digest]) -> dict[str, Any]:
    """The space of towers that have moved in `space`: those with weights of that digest, and no others."""
    return {**space, "digest": digest_json({"space": space["digest"], "weights": weights})}


def tower_settings(files: SourceFiles, tower: str) -> Mapping[str, Any]:
    """The configuration of one tower, `text` or `vision`: a part of config.json, or all of it for a tower by itself."""
    config = files.config
    if config.get("model_type") == f"clip_{tower}_model":
        return config
    # Where both exist, transformers takes the older spelling, complete as it is.
    stated = config.get(f"{tower}_config_dict") or config.get(f"{tower}_config") or {}
    if not isinstance(stated, Mapping):
        raise InvalidInput(f"config.json of {files.spec!r} has {tower}_config = {stated!r:.60}; expected an object")
    # Of a whole model the projection's width stands outside both towers.
    return {**stated, "projection_dim": config.get("projection_dim")}
