"""A fine-tune through the public functions: what it publishes, that it repeats, and what it refuses to publish."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headstock import postprocess
from headstock.catalogue import Catalogue
from headstock.data.inputs import Texts
from headstock.errors import AlreadyExists, FailedPrecondition, HeadstockError, InvalidInput, NotFound, Unsupported
from headstock.finetune import Observer, Options, Outcome, Recipe, Table, fine_tune, plan_recipe, read_table
from headstock.finetune.features import FeatureExtractor
from headstock.hookspecs import FinetuneCallback, HeadType, LinearForm
from headstock.names import Reference
from headstock.plugin_host import PluginHost, open_host
from headstock.records import HeadIdentity, ModelIdentity
from headstock.servable import load_linear, load_model
from headstock.settings import Settings
from headstock.testing.toy import publish_backbone

QUICK = Options(epochs=8, learning_rate=0.05)


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(tmp_path / "home")})) as opened:
        publish_backbone(opened)
        yield opened


@pytest.fixture
def host(catalogue: Catalogue) -> PluginHost:
    return open_host(catalogue.settings)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return write_table(tmp_path / "feelings.csv")


def write_table(path: Path, rows: int = 60) -> Table:
    """Feelings that a linear head can tell by their words, among words that say nothing."""
    dice = random.Random(5)
    words = {"good": ["great", "good", "thanks"], "bad": ["awful", "bad", "broken"]}
    lines = ["text,label"]
    for i in range(rows):
        label = "good" if i % 2 else "bad"
        filler = [f"w{dice.randrange(100)}" for _ in range(dice.randrange(2, 9))]
        lines.append(f"{' '.join([*filler, dice.choice(words[label])])},{label}")
    path.write_text("\n".join(lines) + "\n")
    return read_table(path)


def plan(catalogue: Catalogue, host: PluginHost, table: Table, options: Options = QUICK, head: str = "") -> Recipe:
    return plan_recipe(catalogue, host, table, Reference("toy"), head or "text-classification", options)


def train(
    catalogue: Catalogue, host: Any, table: Table, options: Options = QUICK, name: str = "feelings", **more: Any
) -> Outcome:
    recipe = plan(catalogue, open_host(catalogue.settings), table, options, more.pop("head", ""))
    return fine_tune(catalogue, host, recipe, table, name, **more)


class Spy(Observer):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.epochs: list[Mapping[str, Any]] = []

    def say(self, message: str) -> None:
        self.said.append(message)

    def epoch(self, figures: Mapping[str, Any]) -> None:
        self.epochs.append(figures)


class HostWith:
    """The real plugin host with one head type or some callbacks put in its place."""

    def __init__(self, host: PluginHost, head_type: HeadType | None = None, callbacks: Sequence[Any] = ()) -> None:
        self._host, self._head_type, self._callbacks = host, head_type, callbacks

    def head_type(self, name: str) -> HeadType:
        return self._head_type or self._host.head_type(name)

    def callbacks(self) -> list[Any]:
        return list(self._callbacks)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)


# ------------------------------------------------------------------------------------------------ what it makes
def test_a_fine_tune_adds_a_servable_model_that_beats_the_majority(
    catalogue: Catalogue, host: PluginHost, table: Table
) -> None:
    outcome = train(catalogue, host, table)
    model = load_model(catalogue, catalogue.version(Reference("feelings")))
    weight, bias = load_linear(model.parameters)
    extractor = FeatureExtractor(model.backbone, model.head.tap, None)
    texts = list(table.columns["text"])
    features = extractor.features(Texts(table, [texts]), lambda done, total: None).values
    answers = postprocess.apply(model.head.postprocess, features @ weight + bias)["label"]
    right = np.mean([a.decode() == label for a, label in zip(answers, table.columns["label"], strict=True)])
    assert str(outcome.version) == "feelings:1"
    assert right > 0.75
    assert right > outcome.report["majority"]["accuracy"] + 0.2


def test_the_records_name_backbone_data_plugin_and_recipe(catalogue: Catalogue, host: PluginHost, table: Table) -> None:
    outcome = train(catalogue, host, table)
    backbone = catalogue.version(Reference("toy")).subject
    model = catalogue.artefact(outcome.version.subject)
    head = HeadIdentity.from_json(catalogue.artefact(outcome.head).identity)
    parents = {edge.relation: catalogue.artefact(edge.parent) for edge in catalogue.edges(child=outcome.head)}
    recipe = catalogue.store.read_json(model.files["recipe"])
    assert ModelIdentity.from_json(model.identity) == ModelIdentity(backbone, outcome.head)
    assert (head.backbone, head.type, head.tap) == (backbone, "text-classification", "mean")
    assert parents["head_on"].digest == backbone
    assert parents["built_by_plugin"].identity["distribution"] == "headstock"
    assert parents["trained_on"].identity == {
        "kind": "dataset", "sha256": table.sha256, "rows": 60, "columns": ["text", "label"], "name": "feelings.csv",
    }  # fmt: skip
    assert Recipe.from_json(recipe) == plan(catalogue, host, table)


def test_show_has_what_it_prints(catalogue: Catalogue, host: PluginHost, table: Table) -> None:
    details = train(catalogue, host, table).version.details
    assert details["labels"] == ["bad", "good"]
    assert details["rows_train"] + details["rows_validation"] == 60
    assert details["metrics"][0].keys() == {"name", "value", "low", "high", "method"}
    assert details["majority"]["accuracy"] == 0.5
    assert details["epochs"] == 8
    assert 1 <= details["best_epoch"] <= 8
    assert (details["data"], details["data_digest"]) == ("feelings.csv", table.sha256)
    json.dumps(dict(details))


def test_the_report_tells_the_whole_run(catalogue: Catalogue, host: PluginHost, table: Table) -> None:
    outcome = train(catalogue, host, table)
    report = catalogue.store.read_json(catalogue.artefact(outcome.version.subject).files["report"])
    matrix = np.array(report["confusion"]["matrix"])
    accuracy = next(m["value"] for m in report["metrics"] if m["name"] == "accuracy")
    assert report == outcome.report
    assert matrix.sum() == report["data"]["validation"] == 12
    assert np.trace(matrix) / matrix.sum() == pytest.approx(accuracy)
    assert [epoch["epoch"] for epoch in report["history"]] == list(range(1, 9))
    assert report["features"] == {"computed": 60, "cached": 0, "cache": True}
    assert report["environment"]["torch"] == torch.__version__
    assert report["parity"] <= 1e-5


def test_the_best_epochs_weights_are_kept(catalogue: Catalogue, host: PluginHost, table: Table) -> None:
    report = train(catalogue, host, table, replace(QUICK, epochs=30, patience=0)).report
    values = [(-epoch["accuracy"], epoch["validation_loss"]) for epoch in report["history"]]
    best = report["history"][report["epochs"]["best"] - 1]
    assert (-best["accuracy"], best["validation_loss"]) == min(values)
    assert report["metrics"][0]["value"] == best["accuracy"]


def test_training_stops_when_nothing_gets_better(catalogue: Catalogue, host: PluginHost, table: Table) -> None:
    report = train(catalogue, host, table, replace(QUICK, epochs=500, patience=3, learning_rate=0.5)).report
    assert report["epochs"]["run"] < 500
    assert report["epochs"]["run"] - report["epochs"]["best"] == 3


# ------------------------------------------------------------------------------------------------ repeatability
def test_the_same_recipe_gives_the_same_head_and_no_new_version(
    catalogue: Catalogue, host: PluginHost, table: Table
) -> None:
    first, again = train(catalogue, host, table), train(catalogue, host, table)
    assert again.head == first.head
    assert again.version == first.version
    assert (first.fresh, again.fresh) == (True, False)


def test_another_seed_gives_another_head_and_the_next_version(
    catalogue: Catalogue, host: PluginHost, table: Table
) -> None:
    first, second = train(catalogue, host, table), train(catalogue, host, table, replace(QUICK, seed=1))
    assert second.head != first.head
    assert str(second.version) == "feelings:2"


def test_the_head_does_not_depend_on_the_machines_random_state_and_leaves_it_alone(
    catalogue: Catalogue, host: PluginHost, table: Table
) -> None:
    first = train(catalogue, host, table)
    torch.manual_seed(999)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    assert train(catalogue, host, table, name="again").head == first.head
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_with_and_without_the_cache_the_head_is_the_same(catalogue: Catalogue, host: PluginHost, table: Table) -> None:
    cached = train(catalogue, host, table)
    uncached = train(catalogue, host, table, replace(QUICK, cache=False), name="uncached")
    assert uncached.head == cached.head
    assert uncached.report["features"]["cache"] is False


def test_without_the_cache_the_backbone_runs_once_per_epoch(
    catalogue: Catalogue, host: PluginHost, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither less, which would be a hidden cache, nor more, which would flatter the cache in a comparison."""
    passes: list[int] = []
    original = FeatureExtractor.features

    def counted(self: FeatureExtractor, inputs: Sequence[str], *rest: Any) -> Any:
        passes.append(len(inputs))
        return original(self, inputs, *rest)

    monkeypatch.setattr(FeatureExtractor, "features", counted)
    train(catalogue, host, table, replace(QUICK, cache=False, patience=0))
    assert passes == [60] * 8
    passes.clear()
    train(catalogue, host, table, replace(QUICK, patience=0), name="cached")
    assert passes == [60]


def test_a_second_head_on_the_same_texts_costs_no_backbone_pass(
    catalogue: Catalogue, host: PluginHost, table: Table
) -> None:
    train(catalogue, host, table)
    second = train(catalogue, host, table, name="vectors", head="text-embedding")
    assert second.report["features"] == {"computed": 0, "cached": 60, "cache": True}


def test_an_embedding_head_states_its_real_width(catalogue: Catalogue, host: PluginHost, table: Table) -> None:
    outcome = train(catalogue, host, table, name="vectors", head="text-embedding")
    head = HeadIdentity.from_json(catalogue.artefact(outcome.head).identity)
    assert postprocess.outputs(head.postprocess)[0].shape == (-1, 16)
    assert outcome.report["confusion"] is None
    assert outcome.report["primary_metric"] == "recall_at_1"


def test_head_options_reach_the_head(catalogue: Catalogue, host: PluginHost, table: Table) -> None:
    options = replace(QUICK, head_options={"width": "4"})
    outcome = train(catalogue, host, table, options, name="vectors", head="text-embedding")
    assert catalogue.artefact(outcome.head).identity["out"] == 4


# ------------------------------------------------------------------------------------------------ refusals
def lying(host: PluginHost) -> HeadType:
    """A head type whose served form is not what it trained."""
    honest = type(host.head_type("text-classification"))

    class Lying(honest):  # type: ignore[misc, valid-type]
        def linear_form(self, head: torch.nn.Module) -> LinearForm:
            form = super().linear_form(head)
            return LinearForm(form.weight, form.bias + np.float32(0.01))

    return Lying()


def test_a_head_whose_served_form_differs_is_not_published(
    catalogue: Catalogue, host: PluginHost, table: Table
) -> None:
    with pytest.raises(FailedPrecondition, match="served form"):
        train(catalogue, HostWith(host, lying(host)), table)
    assert catalogue.versions("feelings") == []


def test_a_head_without_a_linear_form_is_refused_in_words(catalogue: Catalogue, host: PluginHost, table: Table) -> None:
    class Graph(type(host.head_type("text-classification"))):  # type: ignore[misc]
        def linear_form(self, head: torch.nn.Module) -> None:
            return None

    with pytest.raises(Unsupported, match="neither a linear form nor a graph form"):
        train(catalogue, HostWith(host, Graph()), table)


def test_another_file_than_the_recipes_is_refused_with_both_digests(
    catalogue: Catalogue, host: PluginHost, table: Table, tmp_path: Path
) -> None:
    recipe = plan(catalogue, host, table)
    other = write_table(tmp_path / "other.csv", rows=40)
    with pytest.raises(FailedPrecondition) as caught:
        fine_tune(catalogue, host, recipe, other, "feelings")
    assert table.sha256[7:15] in caught.value.message
    assert other.sha256[7:15] in caught.value.message
    assert fine_tune(catalogue, host, recipe.with_data(other.name, other.sha256), other, "feelings").fresh


def test_a_backbones_name_cannot_become_a_models(catalogue: Catalogue, host: PluginHost, table: Table) -> None:
    with pytest.raises(AlreadyExists, match="'toy' is a backbone"):
        train(catalogue, host, table, name="toy")


def test_a_model_named_as_backbone_lends_the_one_it_stands_on(
    catalogue: Catalogue, host: PluginHost, table: Table
) -> None:
    train(catalogue, host, table)
    recipe = plan_recipe(catalogue, host, table, Reference("feelings"), "text-classification", QUICK)
    assert recipe.backbone.digest == catalogue.version(Reference("toy")).subject


def test_a_backbone_that_was_removed_is_named_as_the_recipe_calls_it(
    catalogue: Catalogue, host: PluginHost, table: Table
) -> None:
    recipe = plan(catalogue, host, table)
    backbone = recipe.backbone.model_copy(update={"digest": "sha256:" + "0" * 64})
    with pytest.raises(NotFound, match="which the recipe calls 'toy'"):
        fine_tune(catalogue, host, recipe.model_copy(update={"backbone": backbone}), table, "feelings")


@pytest.mark.parametrize(
    "options, error, said",
    [
        (Options(head_options={"widht": "4"}), InvalidInput, "no option 'widht'.*it has width"),
        (Options(head_options={"width": "wide"}), InvalidInput, "expected a number"),
        (Options(tap="pooled"), NotFound, "'mean'"),
        (Options(tap="tokens"), InvalidInput, "answers once for every row"),
        (Options(strategy="fulll"), InvalidInput, "built in: feature-extraction"),
        (Options(validation=1.5), InvalidInput, "between 0 and 1"),
        (Options(split_column="part"), InvalidInput, "no column 'part'"),
    ],
)
def test_options_that_do_not_fit_are_named(
    catalogue: Catalogue, host: PluginHost, table: Table, options: Options, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        train(catalogue, host, table, options, head="text-embedding")


def test_a_loss_that_is_no_number_stops_the_run(catalogue: Catalogue, host: PluginHost, table: Table) -> None:
    class Diverging(type(host.head_type("text-classification"))):  # type: ignore[misc]
        def loss(self, head: torch.nn.Module, batch: Any) -> torch.Tensor:
            loss: torch.Tensor = super().loss(head, batch) * float("nan")
            return loss

    with pytest.raises(HeadstockError, match="loss is nan in epoch 1") as caught:
        train(catalogue, HostWith(host, Diverging()), table)
    assert str(caught.value.fix).startswith("a lower learning rate")
    assert catalogue.versions("feelings") == []


# ------------------------------------------------------------------------------------------------ who watches
class Tracker(FinetuneCallback):
    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def on_start(self, recipe: Mapping[str, Any]) -> None:
        self.calls.append(("start", recipe["seed"]))

    def on_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        self.calls.append(("epoch", epoch, sorted(figures)))

    def on_end(self, identity: Any, report: Mapping[str, Any]) -> None:
        self.calls.append(("end", identity.family, report["epochs"]["run"]))


def test_trackers_are_told_of_every_epoch(catalogue: Catalogue, host: PluginHost, table: Table) -> None:
    tracker = Tracker()
    train(catalogue, HostWith(host, callbacks=[tracker]), table, replace(QUICK, epochs=2))
    figures = [
        "accuracy", "epoch", "learning_rate", "loss", "padding", "peak_memory_bytes", "rows_per_second", "seconds",
        "validation_loss",
    ]  # fmt: skip
    assert tracker.calls == [("start", 0), ("epoch", 1, figures), ("epoch", 2, figures), ("end", "toy", 2)]


def test_a_tracker_that_fails_is_named_once_and_changes_nothing(
    catalogue: Catalogue, host: PluginHost, table: Table
) -> None:
    class Failing(Tracker):
        def on_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
            raise RuntimeError("no connection")

    expected, spy = train(catalogue, host, table), Spy()
    outcome = train(catalogue, HostWith(host, callbacks=[Failing(), Tracker()]), table, name="watched", observer=spy)
    assert outcome.head == expected.head
    assert [line for line in spy.said if "no connection" in line] == spy.said
    assert len(spy.said) == 1


def test_duplicates_are_told(catalogue: Catalogue, host: PluginHost, tmp_path: Path) -> None:
    path = tmp_path / "twice.csv"
    write_table(path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[1], lines[2]]) + "\n")
    spy = Spy()
    outcome = train(catalogue, host, read_table(path), observer=spy)
    assert spy.said[0].startswith("4 rows have the same input")
    assert outcome.report["data"]["duplicates"] == 4


# ------------------------------------------------------------------------------------------------ the optimiser
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_adamw_moves_weights_as_torchs_own_does(weight_decay: float) -> None:
    from headstock.finetune.adamw import AdamW
    from headstock.finetune.recipe import OptimizerChoice

    choice = OptimizerChoice(
        name="adamw", weight_decay=weight_decay, beta1=0.9, beta2=0.999, epsilon=1e-8, batch_size=1
    )
    generator = torch.Generator().manual_seed(0)
    ours = torch.nn.Parameter(torch.randn(5, 3, generator=generator))
    theirs = torch.nn.Parameter(ours.detach().clone())
    mine = AdamW([ours], choice, {})
    reference = torch.optim.AdamW([theirs], weight_decay=weight_decay)
    for step in range(20):
        gradient = torch.randn(5, 3, generator=generator)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        reference.param_groups[0]["lr"] = 0.1 / (1 + step)
        reference.step()
        # Made anew from its state each time, as a resumed run makes it.
        mine = AdamW([ours], choice, mine.state)
        mine.step(0.1 / (1 + step))
    assert torch.allclose(ours, theirs, atol=1e-7)


def test_training_does_not_import_torchs_compiler(catalogue: Catalogue, table: Table, tmp_path: Path) -> None:
    """It takes a second, which is longer than a head takes to train."""
    program = (
        "import sys; from headstock.cli.main import cli;"
        f"cli(['fine-tune', '--backbone', 'toy', '--head', 'text-classification', '--data', {str(tmp_path)!r}"
        " + '/feelings.csv', '--name', 'n', '--epochs', '2'], standalone_mode=False);"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    environment = {**os.environ, "HEADSTOCK_HOME": str(catalogue.settings.home)}
    finished = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
