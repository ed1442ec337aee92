"""The precisions that a variant may have, and the ones that are refused, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from headstock.errors import InvalidInput, Unsupported
from headstock.records import Relation


@dataclass(frozen=True, slots=True)
class Precision:
    """How a variant computes, and how near to the plain graph it must stay."""

    name: str
    """Stands in the variant's identity, so it decides the digest."""
    summary: str
    relation: Relation
    """The lineage edge to the backbone that it was made from."""
    least_cosine: float
    """Smallest cosine that any vector of any tap may have with the plain graph's."""
    most_time: float | None = None
    """Largest time over the plain graph's, over all passes that are measured, for one whose only point is speed."""


PRECISIONS: Mapping[str, Precision] = {
    precision.name: precision
    for precision in (
        Precision(
            "int8-per-token",
            "8-bit weights per column, activations scaled for each vector by itself: fastest on a CPU with VNNI",
            "quantised_from",
            0.99,
        ),
        Precision(
            "int8-weight-only",
            "8-bit weights in blocks of 32 (MatMulNBits, accuracy level 4): small passes on a CPU, and memory",
            "quantised_from",
            0.99,
        ),
        Precision(
            "int8-static",
            "8-bit weights per column, activations with scales fixed on sample inputs: convolutions too",
            "quantised_from",
            0.99,
        ),
        Precision(
            "fused-fp32",
            "FP32 with attention, normalisation and activations fused; only where that is measured faster",
            "converted_from",
            0.99999,
            most_time=0.97,
        ),
        Precision("fp16", "half precision inside, FP32 at both ends: for GPUs, --for cuda", "converted_from", 0.9999),
    )
}

_PER_TENSOR = (
    "takes one scale from all rows of a batch, so a row's answer would change with its neighbours; no shared lane may "
    "serve it"
)
REFUSED: Mapping[str, str] = {"int8-per-tensor": _PER_TENSOR, "int8-dynamic": _PER_TENSOR, "int8": _PER_TENSOR}
"""Names that people try, and why there is no such variant."""


def precision_named(name: str) -> Precision:
    """The precision of that name; raises `Unsupported` with the reason for what is refused, else `InvalidInput`."""
    if name in REFUSED:
        raise Unsupported(
            f"precision {name!r} (dynamic quantisation per tensor) {REFUSED[name]}",
            fix="--precision int8-per-token: as fast, with a scale for each vector by itself",
        )
    if name not in PRECISIONS:
        close = get_close_matches(name, PRECISIONS, n=1)
        raise InvalidInput(
            f"there is no precision {name!r}; expected one of {', '.join(PRECISIONS)}",
            fix=f"--precision {close[0] if close else next(iter(PRECISIONS))}",
        )
    return PRECISIONS[name]
