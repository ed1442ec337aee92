"""The model that a run goes on from: what it knows already, and what the new version says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from headstock.data.dataset import Dataset
from headstock.digest import Digest, short
from headstock.errors import FailedPrecondition, InvalidInput, Unsupported
from headstock.finetune.recipe import Recipe
from headstock.finetune.strategy import Strategy
from headstock.finetune.values import Values
from headstock.hookspecs import HeadType
from headstock.names import Reference
from headstock.records import Artefact, Edge, Version
from headstock.servable import ServableModel, load_linear, load_model

if TYPE_CHECKING:
    import torch

    from headstock.catalogue import Catalogue

IMPOSSIBLE = -30.0
"""Raw output of a label that a parent does not know: about 1e-13 as a probability, and finite as metrics need it."""


@dataclass(frozen=True, slots=True)
class Parent:
    """A published model whose head has a linear form, with the recipe that made it if there was one."""

    model: ServableModel
    recipe: Recipe | None
    adapter: Artefact | None
    datasets: tuple[Digest, ...]
    """What its head was trained on."""

    @property
    def version(self) -> Version:
        """Where it stands in the catalogue."""
        return self.model.version

    @property
    def labels(self) -> tuple[str, ...]:
        """Its classes, in the order of its outputs; empty where there are none."""
        return tuple(self.model.head.postprocess.get("labels", ()))

    def labels_with(self, head_type: HeadType, dataset: Dataset) -> tuple[str, ...] | None:
        """Its classes, then those that are new in `dataset`; None for a head without classes."""
        if not self.labels:
            return None
        found: Sequence[str] = sorted(set(dataset.classes or ())) or head_type.encode(dataset.columns).labels
        return (*self.labels, *(label for label in found if label not in self.labels))

    def start(self, head: torch.nn.Module, head_type: str) -> None:
        """Let a fresh `head` answer as the parent's does; outputs for new labels stay as they were drawn.

        Raises `Unsupported` for a head that cannot begin with given weights.
        """
        begin = getattr(head, "start_from", None)
        if not callable(begin):
            raise Unsupported(
                f"a head of type {head_type!r} cannot begin with the weights of another one",
                fix="train it anew on all rows, without --from",
            )
        import torch

        weight, bias = load_linear(self.model.parameters)
        begin(torch.from_numpy(weight).double(), torch.from_numpy(bias).double())

    def outputs(self, features: Values, labels: Sequence[str]) -> Values:
        """Raw outputs of the parent's head, with one column for each of `labels`; those it does not know never win."""
        weight, bias = load_linear(self.model.parameters)
        more = max(0, len(labels) - len(self.labels)) if self.labels else 0

        def answer(rows: Any) -> Any:
            raw = rows @ weight + bias
            return np.concatenate([raw, np.full((*raw.shape[:-1], more), IMPOSSIBLE, raw.dtype)], axis=-1)

        return [answer(row) for row in features] if isinstance(features, list) else answer(features)

    def edges(self, head: Digest, adapter: Digest | None, replayed: bool) -> list[Edge]:
        """Lineage of the new head and the new adapter, if there is one."""
        found = [] if head == self.model.head_digest else [Edge(head, "finetuned_from", self.model.head_digest)]
        if adapter is not None and self.adapter is not None and adapter != self.adapter.digest:
            found.append(Edge(adapter, "finetuned_from", self.adapter.digest))
        return [*found, *(Edge(head, "trained_on", data, "replay") for data in self.datasets if replayed)]


def open_parent(catalogue: Catalogue, reference: Reference) -> Parent:
    """The version that `reference` means; raises `NotFound`, and `FailedPrecondition` for one without linear head."""
    version = catalogue.version(reference)
    model = load_model(catalogue, version)
    if model.head.form != "linear":
        raise Unsupported(
            f"{version} has a {model.head.type!r} head that is a graph; only a linear head can be continued",
            fix="train it anew on all rows, without --from",
        )
    blob = catalogue.artefact(version.subject).files.get("recipe")
    recipe = None if blob is None else Recipe.from_json(catalogue.store.read_json(blob), f"recipe of {version}")
    under = model.identity.adapter
    data = [edge.parent for edge in catalogue.edges(child=model.head_digest) if edge.relation == "trained_on"]
    return Parent(model, recipe, None if under is None else catalogue.artefact(under), tuple(data))


def parent_of(catalogue: Catalogue, recipe: Recipe) -> Parent | None:
    """The model that `recipe` goes on from, if it names one and fits it; raises `FailedPrecondition` if it does not."""
    if recipe.parent is None:
        return None
    parent = open_parent(catalogue, Reference.parse(recipe.parent.name))
    if parent.version.subject != recipe.parent.digest:
        raise FailedPrecondition(
            f"{recipe.parent.name} is model {short(parent.version.subject)} here; the recipe goes on from "
            f"{short(Digest(recipe.parent.digest))}",
            fix="headstock fine-tune --from NAME:VERSION for a new recipe",
        )
    require_fit(parent, recipe, recipe.backbone.name, catalogue)
    require_strategy(parent, recipe.strategy)
    return parent


def require_head(parent: Parent, head: str | None, tap: str | None) -> None:
    """Raise `FailedPrecondition` if another head type or tap than the parent's is asked for."""
    own, version = parent.model.head, parent.version
    for what, option, old, new in (("head type", "--head", own.type, head), ("tap", "--tap", own.tap, tap)):
        if new is not None and old != new:
            raise FailedPrecondition(
                f"{version} has {what} {old!r}, and its head goes on with no other; {new!r} was asked for",
                fix=f"leave {option} out",
            )


def require_fit(parent: Parent, recipe: Recipe, backbone: str, catalogue: Catalogue) -> None:
    """Raise `FailedPrecondition` unless the recipe's head type, tap and backbone are those of the parent."""
    version = parent.version
    require_head(parent, recipe.head.type, recipe.head.tap)
    digest = Digest(recipe.backbone.digest)
    if digest == parent.model.backbone.digest:
        return
    from headstock.servable import load_backbone

    ours, theirs = parent.model.backbone.identity, load_backbone(catalogue, digest).identity
    what, pair = "weights", (ours.weights, theirs.weights)
    if ours.preprocess != theirs.preprocess:
        what, pair = "preprocessing", (ours.preprocess, theirs.preprocess)
    raise FailedPrecondition(
        f"{version} stands on backbone {short(parent.model.backbone.digest)}; {backbone!r} ({short(digest)}) has other "
        f"{what} ({short(pair[1])}, expected {short(pair[0])}), and the head's weights mean nothing there",
        fix="leave --backbone out",
    )


def require_strategy(parent: Parent, strategy: Strategy) -> None:
    """Raise `InvalidInput` for a strategy that would throw away what the parent has learned."""
    version, adapter = parent.version, parent.model.adapter
    if strategy.initial == "random":
        raise from_random(parent, strategy.name)
    if adapter is None or not strategy.live:
        return
    if not strategy.lora_rank:
        raise InvalidInput(
            f"{version} has an adapter on a shared backbone; strategy {strategy.name!r} would change that backbone",
            fix="--strategy lora, or --strategy feature-extraction for the head alone",
        )
    if strategy.lora_rank != adapter.identity.rank:
        raise InvalidInput(
            f"{version} has an adapter of rank {adapter.identity.rank}; the recipe's lora_rank is {strategy.lora_rank}",
            fix=f"lora_rank = {adapter.identity.rank}",
        )


def from_random(parent: Parent, strategy: str) -> InvalidInput:
    """Why that strategy cannot go on with `parent`."""
    return InvalidInput(
        f"strategy {strategy!r} begins with random weights, so nothing of {parent.version} would go on",
        fix="--strategy full, or no --from",
    )
