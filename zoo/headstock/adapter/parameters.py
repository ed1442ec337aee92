"""An adapter's numbers: per target layer A [in, rank] and B [rank, out], alpha / rank folded into B."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from headstock.errors import Corrupt, InvalidInput

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]


class Pair(NamedTuple):
    """One layer's change: y = x W + (x A) B (LoRA: Hu et al. 2021, arXiv:2106.09685)."""

    a: Floats
    """[in, rank]."""
    b: Floats
    """[rank, out]."""


def check_parameters(parameters: Mapping[str, Pair]) -> int:
    """The rank that all layers have; raises `InvalidInput` for no layer, other shapes, types or ranks, or NaN."""
    import numpy as np

    if not parameters:
        raise InvalidInput("the adapter changes no layer; expected A and B of at least one")
    ranks = set()
    for name, (a, b) in parameters.items():
        if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
            raise InvalidInput(
                f"layer {name!r} of the adapter has A {list(a.shape)} and B {list(b.shape)}; "
                "expected [in, rank] and [rank, out]"
            )
        if a.dtype != np.float32 or b.dtype != np.float32:
            raise InvalidInput(f"layer {name!r} of the adapter has A {a.dtype} and B {b.dtype}; expected float32")
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise InvalidInput(f"layer {name!r} of the adapter holds numbers that are not finite")
        ranks.add(a.shape[1])
    if len(ranks) != 1 or ranks == {0}:
        raise InvalidInput(f"the adapter's layers have ranks {sorted(ranks)}; expected one rank, at least 1")
    return int(ranks.pop())


def load_parameters(path: Path, targets: tuple[str, ...], rank: int) -> dict[str, Pair]:
    """Pairs by layer of an adapter's safetensors; raises `Corrupt` unless they are what its identity says."""
    from safetensors.numpy import load_file

    tensors = load_file(path)
    expected = sorted(f"{name}.{part}" for name in targets for part in "AB")
    if sorted(tensors) != expected:
        raise Corrupt(f"the adapter's parameters have {len(tensors)} tensors; its identity names {len(expected)}")
    pairs = {name: Pair(tensors[f"{name}.A"], tensors[f"{name}.B"]) for name in targets}
    try:
        found = check_parameters(pairs)
    except InvalidInput as error:
        raise Corrupt(error.message) from error
    if found != rank:
        raise Corrupt(f"the adapter's parameters have rank {found}; its identity says {rank}")
    return pairs
