"""What held-out rows said of a backbone that went on learning; kept for what descends from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headstock.digest import Digest
from headstock.records import FROM_RANDOM, Edge, Evidence

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue

PROBE = "probe"
"""Field of the statement; its value is the verdict: `positive`, `none` or `negative`."""
_HANDED_DOWN = (
    "finetuned_from",
    "quantised_from",
    "pruned_from",
    "merged_from",
    "initialised_from",
    "converted_from",
)


def probe_statement(backbone: Digest, found: Mapping[str, Any], before: str) -> Evidence:
    """The linear probe's verdict on `backbone` against `before`, which it went on from; `found` is the report's probe.

    A statement is never replaced, so that going on again without a probe, or with a kinder one, takes nothing back.
    """
    linear = found["linear"]
    raw = (
        f"linear probe {linear['after']['value']:.3f} against {linear['before']['value']:.3f} on {before}, "
        f"{_words(linear['gain'])}, {found['rows']} rows"
    )
    return Evidence(backbone, PROBE, linear["verdict"], "continue", found["data"], raw)


def retrieval_statement(backbone: Digest, found: Mapping[str, Any], data: str) -> Evidence:
    """The verdict of an alignment on held-out pairs of `data`, on a tower that it made; `found` is the report's
    retrieval, of which the gain at 1 over both ways decides."""
    gain = found["gain"]
    raw = f"recall at 1 over both ways, {_words(gain)}, {found['pairs']} held-out pairs"
    return Evidence(backbone, PROBE, gain["verdict"], "align", data, raw)


def _words(gain: Mapping[str, float]) -> str:
    return f"gain {gain['value']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]"


def probed_worse(catalogue: Catalogue, backbone: Digest) -> Evidence | None:
    """What says that `backbone`, or one that handed its weights down to it, was made worse; None if nothing does."""
    seen, left = {backbone}, [backbone]
    while left:
        digest = left.pop(0)
        for statement in catalogue.evidence(digest):
            if (statement.field, statement.value) == (PROBE, "negative"):
                return statement
        older = {edge.parent for edge in catalogue.edges(child=digest) if _hands_down(edge)} - seen
        seen |= older
        left += sorted(older)
    return None


def _hands_down(edge: Edge) -> bool:
    return edge.relation in _HANDED_DOWN and edge.note != FROM_RANDOM
