"""From raw head outputs to answers: declarative, numpy only, the same code in training, prediction and serving.

A spec is a JSON object with a `kind`. `outputs` says which tensors a model with this spec answers, `apply` makes them;
`reads` and `per_position` say what they need. Every kind's own docstring gives its spec, and name, datatype, shape and
unit of what it answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headstock.errors import Unsupported
from headstock.postprocess.anomaly import Anomaly
from headstock.postprocess.answer import Answer
from headstock.postprocess.entities import Entities
from headstock.postprocess.kind import Array, Contexts, Kind, Raw, Wanted, sigmoid, softmax
from headstock.postprocess.transcript import Transcript
from headstock.postprocess.vectors import Classification, Embedding, MultiLabel, Regression
from headstock.records import Reads, TensorSpec

__all__ = ["KINDS", "apply", "outputs", "per_position", "reads", "sigmoid", "softmax"]

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Classification(),
        MultiLabel(),
        Regression(),
        Embedding(),
        Entities(),
        Answer(),
        Transcript(),
        Anomaly(),
    )
}
"""Every kind by the name that specs give it."""


def outputs(spec: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    """The tensors that a model with this spec answers, in order; raises `Unsupported` for an unknown kind."""
    return _kind(spec).outputs(spec)


def apply(spec: Mapping[str, Any], raw: Raw, contexts: Contexts = None, wanted: Wanted = ()) -> dict[str, Array]:
    """Answers for raw head outputs: [n, out], or one array [positions, out] per row where `per_position`.

    BYTES tensors are object arrays of `bytes`. `contexts` holds each row's `extra` where `reads` is not `any`. Outputs
    that are not `wanted` may be left out; without any named, all are there.
    """
    return _kind(spec).apply(spec, raw, contexts, wanted)


def per_position(spec: Mapping[str, Any]) -> bool:
    """True if `apply` takes one array [positions, out] per row."""
    return _kind(spec).per_position


def reads(spec: Mapping[str, Any]) -> Reads:
    """What the raw input must be, so that the preprocessor can give `apply` its contexts."""
    return _kind(spec).reads


def _kind(spec: Mapping[str, Any]) -> Kind:
    kind = KINDS.get(str(spec.get("kind")))
    if kind is None:
        raise Unsupported(
            f"postprocessing kind {spec.get('kind')!r} is not known to this version; expected one of {list(KINDS)}",
            fix="serve it with the version of Headstock that made it, or a newer one",
        )
    return kind
