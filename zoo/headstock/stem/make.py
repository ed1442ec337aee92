"""Makes the cut of a new backbone from its parent, kept only where both halves together are bit by bit the whole."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headstock.backbone.isolation import certify
from headstock.backbone.parity import batches
from headstock.backbone.samples import Samples, samples_for
from headstock.digest import Digest, digest_file
from headstock.graph import Graph
from headstock.preprocess import Preprocessor
from headstock.records import BackboneIdentity
from headstock.stem.composed import ComposedGraph
from headstock.stem.cut import Parts, cut
from headstock.stem.record import CUT, PARENT_UPPER, STEM, UPPER, Cut, stem_digest

if TYPE_CHECKING:
    from headstock.hookspecs import LayerGroup
    from headstock.servable import ServableBackbone
    from headstock.store import BlobStore

logger = logging.getLogger(__name__)


def make_cut(
    store: BlobStore, parent: ServableBackbone, identity: BackboneIdentity, graph: Path, frozen: str, scratch: Path
) -> tuple[Cut, dict[str, Digest]] | None:
    """The cut of a backbone that was made of `parent`, and its stored blobs by role.

    `graph` is its exported graph, `frozen` the last layer group that is still the parent's. None where the two have too
    little in common, or a half does not compute what the whole does: such a backbone is served whole.
    """
    if (identity.precision, identity.preprocess) != (parent.identity.precision, parent.identity.preprocess):
        return None
    preprocessor = parent.open_preprocessor()
    samples = samples_for(preprocessor)
    try:
        parts = cut(graph, parent.graph, preprocessor, samples.ordinary, scratch)
        if parts is None or not _proven(parts, graph, parent, identity, preprocessor, samples):
            return None
    except Exception:
        # Serving it whole costs memory; failing here would cost the whole run.
        logger.warning("the backbone could not be cut; it is served whole", exc_info=True)
        return None
    blobs = {STEM: parts.stem, UPPER: parts.child, PARENT_UPPER: parts.parent}
    files = {role: store.put_file(path) for role, path in blobs.items()}
    name = stem_digest(files[STEM], identity.preprocess, identity.precision)
    found = Cut(
        parent=parent.digest,
        graph=digest_file(graph),
        parent_graph=digest_file(parent.graph),
        frozen=frozen,
        stem=name,
        values=parts.values,
        share=round(parts.share, 4),
        provider=Graph(parts.stem).provider,
    )
    return found, {**files, CUT: store.put_json(found.to_json())}


def last_frozen(groups: Sequence[LayerGroup], before: Mapping[str, Digest], after: Mapping[str, Digest]) -> str:
    """The last of the lowest groups that did not change; empty if the lowest did."""
    frozen = ""
    for group in groups:
        if before.get(group.name) != after[group.name]:
            break
        frozen = group.name
    return frozen


def _proven(
    parts: Parts,
    graph: Path,
    parent: ServableBackbone,
    identity: BackboneIdentity,
    preprocessor: Preprocessor,
    samples: Samples,
) -> bool:
    """True if each half above the stem gives the whole's bits on every sample, alone, together, and cut apart."""
    return all(
        _equal(Graph(whole), ComposedGraph(parts.stem, upper), identity, preprocessor, samples)
        and certify(ComposedGraph(parts.stem, upper, apart=True), its, preprocessor, samples).shared
        for whole, upper, its in ((graph, parts.child, identity), (parent.graph, parts.parent, parent.identity))
    )


def _equal(
    whole: Graph, composed: Graph, identity: BackboneIdentity, preprocessor: Preprocessor, samples: Samples
) -> bool:
    taps = [tap.name for tap in identity.taps]
    for rows in batches(samples):
        feeds = preprocessor.collate(rows)
        pairs = zip(whole.run(feeds, taps), composed.run(feeds, taps), strict=True)
        if any(one.tobytes() != other.tobytes() for one, other in pairs):
            return False
    return True
