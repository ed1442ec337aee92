"""One loaded model version: what a request holds from the moment it is resolved until it is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headstock import postprocess
from headstock.digest import Digest
from headstock.records import HeadIdentity, Reads, TensorSpec, Version
from headstock.servable import ServableModel
from headstock_server.engine.adapted_backbone import LoadedAdapter
from headstock_server.engine.backbone import LoadedBackbone
from headstock_server.engine.residency import ResidentKey, Usage
from headstock_server.scheduler.contract import HeadGroup

if TYPE_CHECKING:
    from headstock_server.repository.licence_gate import Ruling


class LoadedModel:
    """A version with its head in place.

    Whoever holds this object keeps the head and the backbone loaded: a request resolved before a swap is answered
    by the version it was resolved to, and the last reference to go unloads it.
    """

    __slots__ = (
        "__weakref__",
        "adapter",
        "aliases",
        "backbone",
        "caution",
        "group",
        "head",
        "head_digest",
        "outputs",
        "reads",
        "slot",
        "usage",
        "version",
    )

    def __init__(
        self,
        servable: ServableModel,
        backbone: LoadedBackbone,
        group: HeadGroup,
        slot: int,
        adapter: LoadedAdapter | None = None,
        usage: Usage | None = None,
    ) -> None:
        self.version: Version = servable.version
        self.backbone = backbone
        self.head: HeadIdentity = servable.head
        self.head_digest: Digest = servable.head_digest
        self.group = group
        self.slot = slot
        self.adapter = adapter
        """Its adapter, which stays in the backbone's bank while a model of it is referred to."""
        self.usage = usage or Usage()
        """What requests note of its backbone's use; one for all models of a session."""
        self.aliases: tuple[str, ...] = ()
        """Aliases that point here now; replaced whole when they move."""
        self.caution: Ruling | None = None
        """Why it is refused or warned of; None, as usual, if it is served in silence. All that a request looks at."""
        self.outputs: tuple[TensorSpec, ...] = postprocess.outputs(servable.head.postprocess)
        self.reads: Reads = postprocess.reads(servable.head.postprocess)
        """What its raw input must be."""

    @property
    def name(self) -> str:
        """Entry name."""
        return self.version.name

    @property
    def adapter_slot(self) -> int:
        """Its adapter's place among the backbone's adapters; 0 for none."""
        return 0 if self.adapter is None else self.adapter.slot

    @property
    def resident(self) -> ResidentKey:
        """The session that it stands on."""
        return self.backbone.resident

    @property
    def number(self) -> int:
        """Version number."""
        return self.version.number

    @property
    def digest(self) -> Digest:
        """Digest of the model artefact."""
        return self.version.subject

    def __repr__(self) -> str:
        return f"LoadedModel({self.version}, {self.head.type}, {self.backbone!r})"
