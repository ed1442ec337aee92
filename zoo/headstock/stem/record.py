"""What the catalogue keeps of a cut: which parent, how deep, what passes, and the blobs by role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from headstock.digest import Digest, digest_json
from headstock.errors import NotFound

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.records import Artefact

STEM, UPPER, PARENT_UPPER, CUT = "stem", "upper", "parent-upper", "cut"
CUT_ROLES = (STEM, UPPER, PARENT_UPPER, CUT)
"""Roles of a cut's blobs among the files of the backbone that was made: both graphs, the parent's upper part, and the
record. They say nothing of what is made of that backbone in turn."""

_CUTTING = ("finetuned_from", "merged_from")


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a backbone parts from the one that it was made of."""

    parent: Digest
    """The backbone whose lower part it has, bit by bit."""
    graph: Digest
    """The whole graph that was cut; a newer export of the backbone is another one, and is not served by this cut."""
    parent_graph: Digest
    """The same of the parent."""
    frozen: str
    """The last layer group, counted from the input, of those that hold the parent's own weights."""
    stem: Digest
    """Names the stem: its graph with its weights, the preprocessing before it, the precision."""
    values: tuple[str, ...]
    """What passes from the stem to the upper parts."""
    share: float
    """Share of the backbone's weights that the stem holds."""
    provider: str
    """Execution provider on which both compositions were seen to equal the whole graphs bit by bit."""

    def to_json(self) -> dict[str, Any]:
        """The record as it is stored."""
        return {**asdict(self), "values": list(self.values)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Cut:
        """Inverse of `to_json`."""
        return cls(**{**value, "values": tuple(value["values"])})


class StoredStem(NamedTuple):
    """A cut with the blobs that serve one of the two backbones by it."""

    cut: Cut
    graph: Digest
    upper: Digest


def stem_digest(graph: Digest, preprocess: Digest, precision: str) -> Digest:
    """Names a stem: equal for all backbones whose rows may share its passes."""
    return digest_json({"kind": "stem", "graph": graph, "preprocess": preprocess, "precision": precision})


def stored_stem(catalogue: Catalogue, artefact: Artefact) -> StoredStem | None:
    """The stem that a backbone may be served by: its own, or else the one that most of its children have.

    None where it has neither, or where the blobs are gone.
    """
    own = _read(catalogue, artefact, UPPER)
    if own is not None and own.cut.graph == artefact.files.get("graph"):
        return own
    found: list[StoredStem] = []
    for edge in catalogue.edges(parent=artefact.digest):
        if edge.relation in _CUTTING:
            try:
                child = _read(catalogue, catalogue.artefact(edge.child), PARENT_UPPER)
            except NotFound:
                # Removed since the edges were read: whoever is loaded now does not stand on it.
                continue
            graph = artefact.files.get("graph")
            if child is not None and (child.cut.parent, child.cut.parent_graph) == (artefact.digest, graph):
                found.append(child)
    counts = [sum(other.cut.stem == one.cut.stem for other in found) for one in found]
    best = max(zip(counts, found, strict=True), key=lambda each: (each[0], each[1].cut.share), default=None)
    return None if best is None else best[1]


def _read(catalogue: Catalogue, artefact: Artefact, upper: str) -> StoredStem | None:
    files, store = artefact.files, catalogue.store
    if not all(role in files and store.has(files[role]) for role in (CUT, STEM, upper)):
        return None
    return StoredStem(Cut.from_json(store.read_json(files[CUT])), files[STEM], files[upper])
