"""The state of a run between two epochs, as one safetensors file: no pickle, and torn files are noticed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import torch

from headstock.digest import canonical_json, digest_bytes

Tensors = dict[str, torch.Tensor]


@dataclass(slots=True)
class State:
    """Everything that the next epoch depends on. Random numbers are no part of it: each epoch seeds its own."""

    phase: int = 0
    """Index of the phase in progress."""
    epoch: int = 0
    """Epochs done in that phase."""
    stale: int = 0
    """Epochs since the last better one."""
    best_epoch: int = 0
    """The epoch, counted from 1 over all phases, whose weights are the best so far; 0 before the first."""
    best_value: float = 0.0
    best_loss: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    """One record per epoch done."""
    head: Tensors = field(default_factory=dict)
    """The head, and under `body.` what the strategy may change of the backbone."""
    best: Tensors = field(default_factory=dict)
    optimizer: Tensors = field(default_factory=dict)
    """What `AdamW.state` holds."""
    anchor: Tensors = field(default_factory=dict)
    """Weights after the first phase, where the strategy interpolates towards them."""


_PARTS = ("head", "best", "optimizer", "anchor")
_NUMBERS = ("phase", "epoch", "stale", "best_epoch", "best_value", "best_loss", "history")


def dump(state: State) -> bytes:
    """The state as bytes."""
    from safetensors.torch import save

    tensors = {
        f"{part}/{name}": tensor.contiguous() for part in _PARTS for name, tensor in getattr(state, part).items()
    }
    numbers = canonical_json({name: getattr(state, name) for name in _NUMBERS}).decode()
    body = save(tensors, {"state": numbers})
    return digest_bytes(body).encode() + b"\n" + body


def load(data: bytes) -> State | None:
    """Inverse of `dump`; None if the bytes are not what was written."""
    from safetensors.torch import load as load_tensors

    digest, _, body = data.partition(b"\n")
    if digest_bytes(body).encode() != digest:
        return None
    header_size = int.from_bytes(body[:8], "little")
    header = json.loads(body[8 : 8 + header_size])
    state = State(**json.loads(header["__metadata__"]["state"]))
    for name, tensor in load_tensors(body).items():
        part, _, key = name.partition("/")
        getattr(state, part)[key] = tensor
    return state
