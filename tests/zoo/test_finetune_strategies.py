"""Fine-tunes that change the backbone: what is frozen stays, what is trained is what is served, and lineage says so."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headstock.backbone.restore import Restored, restore
from headstock.catalogue import Catalogue
from headstock.digest import Digest
from headstock.finetune import Observer, Options, Outcome, Table, fine_tune, plan_recipe, read_table
from headstock.licences.gate import verdict
from headstock.names import Reference
from headstock.plugin_host import open_host
from headstock.predictor import Predictor
from headstock.records import ModelIdentity, Version
from headstock.settings import Settings

QUICK: dict[str, Any] = {"epochs": 4, "backbone_epochs": 2, "patience": 0, "batch_size": 8, "backbone_rate": 1e-2}
WORDS = {"good": "great fine thanks", "bad": "awful wrong broken", "odd": "maybe perhaps what"}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    dice = random.Random(5)
    tmp_path = tmp_path_factory.mktemp("rows")
    lines = [f"{dice.choice(WORDS[kind].split())} {dice.choice('abc')} {n},{kind}" for n in range(12) for kind in WORDS]
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "\n".join(lines) + "\n")
    return read_table(path)


@pytest.fixture(scope="module")
def grown(tiny_home_master: Path, table: Table, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    """A catalogue with model `full`, whose backbone was fine-tuned as a whole; tests add to it and change nothing."""
    home = Path(shutil.copytree(tiny_home_master, tmp_path_factory.mktemp("grown") / "home"))
    with Catalogue.open(Settings.from_environment({**os.environ, "HEADSTOCK_HOME": str(home)})) as catalogue:
        run(catalogue, table, "full", "full", backbone_epochs=12)
        yield catalogue


def full(catalogue: Catalogue) -> Digest:
    return standing_on(catalogue, catalogue.version(Reference("full")))


def run(
    catalogue: Catalogue, table: Table, strategy: str, name: str, observer: Observer | None = None, **more: Any
) -> Outcome:
    host = open_host(catalogue.settings)
    backbone = Reference(more.pop("backbone", "tiny"))
    options = Options(strategy=strategy, **{**QUICK, **more})
    recipe = plan_recipe(catalogue, host, table, backbone, "text-classification", options)
    return fine_tune(catalogue, host, recipe, table, name, observer=observer)


def standing_on(catalogue: Catalogue, version: Version) -> Digest:
    return ModelIdentity.from_json(catalogue.artefact(version.subject).identity).backbone


def backbone_of(catalogue: Catalogue, outcome: Outcome) -> Digest:
    return standing_on(catalogue, outcome.version)


def tensors(catalogue: Catalogue, digest: Digest) -> tuple[Restored, Mapping[str, torch.Tensor]]:
    restored = restore(catalogue, open_host(catalogue.settings), digest, "it")
    return restored, restored.module.state_dict()


def parent_of(catalogue: Catalogue) -> Digest:
    return catalogue.version(Reference("tiny")).subject


# ------------------------------------------------------------------------------------------------ the new backbone
def test_full_fine_tuning_makes_a_backbone_of_its_own_that_names_its_parent(grown: Catalogue) -> None:
    parent, child = parent_of(grown), full(grown)
    assert child != parent
    edges = {(edge.relation, edge.parent) for edge in grown.edges(child=child)}
    assert ("finetuned_from", parent) in edges
    assert any(relation == "trained_on" for relation, _ in edges)
    certificate = grown.certificate(child)
    assert certificate is not None
    assert certificate.shared
    assert tensors(grown, parent)[0].identity.weights != tensors(grown, child)[0].identity.weights
    grown.gc()
    assert not grown.verify().problems


def test_what_the_server_will_run_answers_as_what_was_trained(grown: Catalogue, table: Table) -> None:
    answers = Predictor.open(grown, Reference("full")).predict([str(text) for text in table.column("text", "")])
    answered = [label.decode() for label in np.ravel(answers.outputs["label"])]
    truth = [str(label) for label in table.column("label", "")]
    assert np.mean([a == b for a, b in zip(answered, truth, strict=True)]) > 0.9


def test_another_head_shares_the_tuned_backbone(grown: Catalogue, table: Table) -> None:
    second = run(grown, table, "feature-extraction", "second", backbone="full", seed=3)
    assert backbone_of(grown, second) == full(grown)


def test_a_tuned_backbone_can_be_tuned_again(grown: Catalogue, table: Table) -> None:
    again = run(grown, table, "last-1", "again", backbone="full", seed=1)
    child = backbone_of(grown, again)
    assert child != full(grown)
    assert any(e.relation == "finetuned_from" and e.parent == full(grown) for e in grown.edges(child=child))


def test_a_run_that_gains_nothing_from_the_backbone_shares_it(tiny_catalogue: Catalogue, table: Table) -> None:
    """A rate that ruins every weight: the probe's epoch is the best one, and no second backbone enters."""
    outcome = run(tiny_catalogue, table, "lp-ft", "probe", epochs=60, learning_rate=1e-2, backbone_rate=5.0)
    assert outcome.report["epochs"]["best"] <= 60
    assert backbone_of(tiny_catalogue, outcome) == parent_of(tiny_catalogue)


def test_weights_made_here_carry_the_terms_of_what_they_were_made_from(grown: Catalogue) -> None:
    assert verdict(grown, parent_of(grown)).value == "unknown"
    assert verdict(grown, grown.version(Reference("full")).subject).value == "unknown"


# ------------------------------------------------------------------------------------------------ frozen is frozen
@pytest.mark.parametrize("strategy", ["last-1", "gradual"])
def test_only_what_the_strategy_names_moves(tiny_catalogue: Catalogue, table: Table, strategy: str) -> None:
    outcome = run(tiny_catalogue, table, strategy, strategy, backbone_epochs=4, learning_rate=1e-2)
    old, before = tensors(tiny_catalogue, parent_of(tiny_catalogue))
    _, after = tensors(tiny_catalogue, backbone_of(tiny_catalogue, outcome))
    live = old.groups if strategy == "gradual" else old.groups[-1:]
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith(tuple(p for group in live for p in group.prefixes)) for name in moved)


def test_scratch_forgets_the_pretrained_weights(tiny_catalogue: Catalogue, table: Table) -> None:
    first = run(tiny_catalogue, table, "scratch", "scratch", backbone_rate=1e-6)
    again = run(tiny_catalogue, table, "scratch", "again", backbone_rate=1e-6)
    assert backbone_of(tiny_catalogue, first) == backbone_of(tiny_catalogue, again)
    _, before = tensors(tiny_catalogue, parent_of(tiny_catalogue))
    _, after = tensors(tiny_catalogue, backbone_of(tiny_catalogue, first))
    weights = [name for name, tensor in before.items() if tensor.is_floating_point() and tensor.ndim > 1]
    assert weights
    assert not any(torch.allclose(before[name], after[name], atol=1e-3) for name in weights)


def distance(catalogue: Catalogue, outcome: Outcome) -> float:
    _, before = tensors(catalogue, parent_of(catalogue))
    _, after = tensors(catalogue, backbone_of(catalogue, outcome))
    squares = [float((before[n] - after[n]).square().sum()) for n in before if before[n].is_floating_point()]
    return float(np.sqrt(sum(squares)))


def test_l2_sp_stays_nearer_to_where_it_began_than_full_fine_tuning(tiny_catalogue: Catalogue, table: Table) -> None:
    host = open_host(tiny_catalogue.settings)
    recipe = plan_recipe(
        tiny_catalogue, host, table, Reference("tiny"), "text-classification", Options(strategy="l2-sp", **QUICK)
    )
    strong = recipe.model_copy(update={"strategy": recipe.strategy.model_copy(update={"l2_sp": 100.0})})
    pulled = fine_tune(tiny_catalogue, host, strong, table, "pulled")
    free = run(tiny_catalogue, table, "full", "free")
    assert 0 < distance(tiny_catalogue, pulled) < 0.5 * distance(tiny_catalogue, free)


def test_wise_ft_publishes_what_lies_between_the_probe_and_the_tuned_weights(
    tiny_catalogue: Catalogue, table: Table
) -> None:
    settings = {"learning_rate": 1e-3, "epochs": 1, "backbone_epochs": 6}
    between = run(tiny_catalogue, table, "wise-ft", "wise", **settings)
    tuned = run(tiny_catalogue, table, "lp-ft", "lp", **settings)
    _, start = tensors(tiny_catalogue, parent_of(tiny_catalogue))
    _, middle = tensors(tiny_catalogue, backbone_of(tiny_catalogue, between))
    _, end = tensors(tiny_catalogue, backbone_of(tiny_catalogue, tuned))
    assert any(not torch.equal(start[name], end[name]) for name in start)
    for name in start:
        if start[name].is_floating_point():
            torch.testing.assert_close(middle[name], start[name].lerp(end[name], 0.5), atol=1e-6, rtol=0)


# ------------------------------------------------------------------------------------------------ adapters
def test_lora_keeps_the_backbone_and_adds_what_it_learnt(grown: Catalogue, table: Table) -> None:
    outcome = run(grown, table, "lora", "adapted", learning_rate=1e-3, epochs=1, backbone_epochs=8)
    identity = ModelIdentity.from_json(grown.artefact(outcome.version.subject).identity)
    assert identity.backbone == parent_of(grown)
    assert identity.adapter is not None
    edges = {(edge.relation, edge.parent) for edge in grown.edges(child=identity.adapter)}
    assert ("adapter_of", parent_of(grown)) in edges
    assert outcome.report["parity"] < 1e-5
    assert verdict(grown, outcome.version.subject).value == "unknown"
    assert not grown.verify().problems
    texts = [str(text) for text in table.column("text", "")]
    answers = Predictor.open(grown, Reference("adapted")).predict(texts).outputs["label"]
    truth = [str(label) for label in table.column("label", "")]
    assert np.mean([a.decode() == b for a, b in zip(np.ravel(answers), truth, strict=True)]) > 0.8


# ------------------------------------------------------------------------------------------------ resuming
class StopAt(Observer):
    """Ends the process, so to speak, after some epoch of the run."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch

    def epoch(self, figures: Mapping[str, Any]) -> None:
        if figures["epoch"] == self._epoch:
            raise KeyboardInterrupt


@pytest.mark.parametrize("epoch", [4, 6])
def test_a_gradual_run_that_is_stopped_ends_with_the_digests_of_an_undisturbed_one(
    tiny_catalogue: Catalogue, table: Table, epoch: int
) -> None:
    calm = run(tiny_catalogue, table, "gradual", "calm")
    with pytest.raises(KeyboardInterrupt):
        run(tiny_catalogue, table, "gradual", "stopped", StopAt(epoch))
    resumed = run(tiny_catalogue, table, "gradual", "stopped")
    assert resumed.report["resumed_after"] == epoch
    assert resumed.head == calm.head
    assert resumed.version.subject == calm.version.subject
