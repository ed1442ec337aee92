"""The forms in which a trained model is served: on a shared backbone, under an adapter, on a backbone of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstock.digest import Digest

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.finetune.publish import TrainedHead
    from headstock.finetune.training import Trained
    from headstock.graph import Graph
    from headstock.records import Version
    from headstock.servable import ServableAdapter, ServableBackbone


@dataclass(frozen=True, slots=True)
class Form:
    """A model on the backbone that it began with."""

    base: ServableBackbone
    tap: str
    width: int
    """Features that the head reads per row or position."""
    out: int
    head_bytes: int
    own: ServableBackbone | None = None
    """What the run made of the backbone, where it changed it."""
    adapter: ServableAdapter | None = None
    head: Path | None = None
    """ONNX file of a head that is no linear map."""

    @property
    def own_bytes(self) -> int:
        """Bytes of arrays that a server stacks for this model alone: head and adapter, as large as their files."""
        return self.head_bytes + (self.adapter.parameters.stat().st_size if self.adapter else 0)

    @property
    def session(self) -> Path | None:
        """The graph that needs a session besides the plain one; of an adapter, all that share its graph share it."""
        return self.own.graph if self.own else self.adapter.graph if self.adapter else None

    def graph(self) -> Graph | None:
        """What runs instead of the plain graph; None for a head on the shared one."""
        if self.own is not None:
            from headstock.graph import Graph

            return Graph(self.own.graph)
        if self.adapter is not None:
            from headstock.adapter.adapted import AdaptedGraph

            return AdaptedGraph(self.adapter)
        return None

    def head_pass(self, features: npt.NDArray[np.float32]) -> Callable[[], Any]:
        """The head on a block of the tap's output [rows, ..., width]; a linear one's time depends on no value."""
        if self.head is not None:
            from headstock.graph import Graph

            graph = Graph(self.head)
            return lambda: graph.run({graph.inputs[0]: features}, graph.outputs)
        weight, bias = np.ones((self.width, self.out), np.float32), np.ones(self.out, np.float32)
        return lambda: features @ weight + bias


def form_of_run(catalogue: Catalogue, base: ServableBackbone, tap: str, trained: Trained, head: TrainedHead) -> Form:
    """The form of what a run has just trained, before it is published."""
    from headstock.finetune.publish import parameter_bytes
    from headstock.servable import servable_adapter

    linear = not isinstance(head.form, bytes)
    data = head.form if isinstance(head.form, bytes) else parameter_bytes(head.form)
    return Form(
        base, tap, head.width, head.out, len(data),
        own=trained.new_backbone.servable if trained.new_backbone else None,
        adapter=servable_adapter(catalogue, trained.adapter) if trained.adapter else None,
        head=None if linear else catalogue.store.path(catalogue.store.put_bytes(data)),
    )  # fmt: skip


def form_of_version(catalogue: Catalogue, version: Version, base: ServableBackbone) -> Form:
    """The form of a version whose run began with `base`; raises what `load_model` raises."""
    from headstock.servable import load_backbone, load_model

    own_digest = Digest(catalogue.artefact(version.subject).identity["backbone"])
    own = None if own_digest == base.digest else load_backbone(catalogue, own_digest)
    model = load_model(catalogue, version, own or base)
    head = model.head
    graph = model.parameters if head.form == "graph" else None
    size = model.parameters.stat().st_size
    return Form(base, head.tap, head.width, head.out, size, own=own, adapter=model.adapter, head=graph)
