"""Isolation and parity on devices beside the CPU: what a machine has is tried, what it lacks is left to who has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headstock.backbone.isolation import certify, tolerance_for
from headstock.errors import FailedPrecondition
from headstock.graph import Graph
from headstock.preprocess.padded import Collate
from headstock.providers import PROVIDER

if TYPE_CHECKING:
    from headstock.backbone.samples import Samples
    from headstock.preprocess import Preprocessor
    from headstock.records import BackboneIdentity, Certificate

_PARITY_PER_TOLERANCE = 10.0
"""A device may differ from the CPU by this much more than a row may move in company."""
_LEAST_PARITY = 1e-3
"""What it may differ by where no tolerance is stated; its rows run alone then."""


def certify_elsewhere(
    path: Path,
    reference: Graph,
    identity: BackboneIdentity,
    preprocessor: Preprocessor,
    samples: Samples,
    progress: Callable[[str], None],
) -> tuple[Certificate, ...]:
    """Certificates of the graph in `path` on the GPU of this machine, if it has one that ONNX Runtime can use.

    Raises `FailedPrecondition` where the GPU's answers are not the CPU's.
    """
    import onnxruntime

    if PROVIDER["cuda"] not in onnxruntime.get_available_providers():
        return ()
    try:
        graph = Graph(path, device="cuda")
    except FailedPrecondition:
        progress("no GPU can be used here: a server on one will measure for itself")
        return ()
    progress("checking both on the GPU")
    certificate = certify(graph, identity, preprocessor, samples)
    return (held_against_cpu(certificate, reference, graph, identity, samples, preprocessor.collate),)


def held_against_cpu(
    certificate: Certificate,
    reference: Graph,
    graph: Graph,
    identity: BackboneIdentity,
    samples: Samples,
    collate: Collate,
) -> Certificate:
    """The certificate with how far `graph` is from `reference`, the same graph on the CPU, row by row.

    Raises `FailedPrecondition` where that is more than ten times what the provider's rows may move: heads were trained
    on the CPU's features.
    """
    allowed = max(_LEAST_PARITY, _PARITY_PER_TOLERANCE * tolerance_for(graph.provider, identity.precision))
    measured = difference(reference, graph, identity, samples, collate)
    if not measured <= allowed:
        raise FailedPrecondition(
            f"{graph.provider} answers differently from the CPU by {measured:.3g}; expected at most {allowed:.3g}",
            fix="serve this backbone with --device cpu",
        )
    return replace(certificate, detail={**certificate.detail, "cpu": measured})


def difference(reference: Graph, graph: Graph, identity: BackboneIdentity, samples: Samples, collate: Collate) -> float:
    """Largest difference of the two graphs' answers for a row alone, over its scale, which counts as at least 1."""
    names = [tap.name for tap in identity.taps]
    worst = 0.0
    for row in samples.ordinary:
        feeds = collate([row])
        for tap, one, other in zip(identity.taps, reference.run(feeds, names), graph.run(feeds, names), strict=True):
            own = tap.positions(row.steps) if tap.ragged else None
            expected, found = one[0][:own], other[0][:own]
            if not np.isfinite(found).all():
                return float(np.finfo(np.float32).max)
            scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
            worst = max(worst, float(np.abs(found - expected).max(initial=0.0)) / scale)
    return worst
