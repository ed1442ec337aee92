"""Partly fine-tuned models and their parent share the stem: one pass for the rows of all, and the bits of the whole."""

from __future__ import annotations

import gc
import os
import random
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
from click.testing import CliRunner
from tritonclient import grpc as triton

from headstock.backbone.pull import pull
from headstock.catalogue import Catalogue
from headstock.cli.main import cli
from headstock.digest import Digest
from headstock.errors import FailedPrecondition
from headstock.names import Reference
from headstock.plugin_host import open_host
from headstock.records import ModelIdentity
from headstock.servable import ServableModel, load_backbone, load_model
from headstock.settings import Settings
from headstock.stem.record import CUT, Cut, stored_stem
from headstock.testing.tiny import TEXTS, make_tiny_bert
from headstock_server.engine import Engine, EngineOptions, StemmedBackbone
from headstock_server.engine.budget import OVERHEAD, MemoryBudget
from headstock_server.engine.residency import ResidentKey
from headstock_server.scheduler import Scheduler, Ticket
from headstock_server.testing import background_server

MODELS = {"plain": "feature-extraction", "first": "last-1", "second": "last-1"}
"""Name to strategy: one on the backbone as it was pulled, two on backbones whose last layer learned."""
WORDS = {"good": "great fine thanks", "bad": "awful wrong broken"}


def _data(path: Path, seed: int) -> Path:
    dice = random.Random(seed)
    lines = [f"{dice.choice(WORDS[kind].split())} order {n},{kind}" for n in range(12) for kind in WORDS]
    path.write_text("text,label\n" + "\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A catalogue with a tiny BERT of three layers and the three models, made through the command line."""
    home: Path = tmp_path_factory.mktemp("stems")
    environment = {"HEADSTOCK_HOME": str(home / "home"), "HEADSTOCK_ACTOR": "tester"}
    made = Settings.from_environment({**os.environ, **environment})
    with Catalogue.open(made) as catalogue:
        pull(catalogue, open_host(made), f"path:{make_tiny_bert(home / 'source', layers=3)}", "tiny")
    quick = ["--epochs", "2", "--backbone-epochs", "2", "--patience", "0", "--batch-size", "8", "--report", "quick"]
    for seed, (name, strategy) in enumerate(MODELS.items()):
        data = _data(home / f"{name}.csv", seed)
        arguments = ["fine-tune", "--backbone", "tiny", "--head", "text-classification", "--strategy", strategy]
        result = CliRunner(env=environment).invoke(
            cli, [*arguments, "--data", str(data), "--name", name, *quick], catch_exceptions=False
        )
        assert result.exit_code == 0, result.output
    return made


@pytest.fixture(scope="module")
def catalogue(settings: Settings) -> Iterator[Catalogue]:
    with Catalogue.open(settings) as opened:
        yield opened


def _servables(catalogue: Catalogue) -> dict[str, ServableModel]:
    return {name: load_model(catalogue, catalogue.version(Reference(name))) for name in MODELS}


def _whole(servable: ServableModel) -> ServableModel:
    return replace(servable, backbone=replace(servable.backbone, stem=None))


class Served:
    """The real engine and scheduler; `together` puts one-row requests into one pass."""

    def __init__(self, servables: Mapping[str, ServableModel]) -> None:
        self.engine = Engine(EngineOptions(token_budget=1 << 20, padding_waste=1.0))
        self.models = {name: self.engine.load(servable) for name, servable in servables.items()}
        self._done = threading.Semaphore(0)
        self.scheduler = Scheduler(lambda tickets: self._done.release(len(tickets)))

    def together(self, requests: list[tuple[str, str]]) -> list[Any]:
        tickets = [Ticket(self.models[n], self.models[n].backbone.preprocessor.rows([t])) for n, t in requests]
        self.scheduler.hold(len(tickets))
        for ticket in tickets:
            self.scheduler.submit(ticket)
        for _ in tickets:
            assert self._done.acquire(timeout=30)
        return [ticket.result for ticket in tickets]


@pytest.fixture
def served(catalogue: Catalogue) -> Iterator[Served]:
    made = Served(_servables(catalogue))
    yield made
    made.scheduler.close()


@pytest.fixture
def whole(catalogue: Catalogue) -> Iterator[Served]:
    """The same models, each backbone in one piece."""
    made = Served({name: _whole(servable) for name, servable in _servables(catalogue).items()})
    yield made
    made.scheduler.close()


def _backbone(catalogue: Catalogue, name: str) -> Digest:
    identity = ModelIdentity.from_json(catalogue.artefact(catalogue.version(Reference(name)).subject).identity)
    return Digest(identity.backbone)


def test_the_catalogue_records_how_far_the_parents_weights_reach(catalogue: Catalogue) -> None:
    parent = catalogue.version(Reference("tiny")).subject
    cuts = []
    for name in ("first", "second"):
        digest = _backbone(catalogue, name)
        (edge,) = [e for e in catalogue.edges(child=digest) if e.relation == "finetuned_from"]
        assert edge.parent == parent
        assert "'layer.1'" in edge.note
        cuts.append(Cut.from_json(catalogue.store.read_json(catalogue.artefact(digest).files[CUT])))
    assert cuts[0].graph != cuts[1].graph
    assert replace(cuts[0], graph=cuts[1].graph) == cuts[1]
    assert (cuts[0].parent, cuts[0].frozen) == (parent, "layer.1")
    assert 0.5 < cuts[0].share < 1
    assert _backbone(catalogue, "first") != _backbone(catalogue, "second")
    assert _backbone(catalogue, "plain") == parent


def test_siblings_and_their_parent_share_one_pass_and_answer_with_the_bits_of_whole_backbones(
    served: Served, whole: Served
) -> None:
    names = list(MODELS)
    requests = [(names[i % 3], f"{text} {i}") for i, text in enumerate(TEXTS * 2)]
    answers, expected = served.together(requests), whole.together(requests)
    for answer, wanted in zip(answers, expected, strict=True):
        assert isinstance(answer, np.ndarray)
        assert answer.tobytes() == wanted.tobytes()
    lanes = served.scheduler.statistics().backbones
    (key,) = lanes
    assert key.depth == "layer.1"
    assert (lanes[key].passes, lanes[key].rows, lanes[key].mixed_passes) == (1, len(requests), 1)
    assert len(whole.scheduler.statistics().backbones) == 3


def test_the_same_input_to_all_of_them_goes_through_the_stem_once(served: Served, whole: Served) -> None:
    requests = [(name, text) for text in TEXTS[:2] for name in MODELS] + [("first", TEXTS[0])]
    for answer, wanted in zip(served.together(requests), whole.together(requests), strict=True):
        assert answer.tobytes() == wanted.tobytes()
    (lane,) = served.scheduler.statistics().backbones.values()
    assert (lane.rows, lane.reused_rows) == (7, 5)


def test_a_rows_answer_has_the_same_bits_alone_and_among_siblings(served: Served) -> None:
    (alone,) = served.together([("first", TEXTS[0])])
    hostile = [("second", "a " * 40), ("plain", "?"), ("first", "a " * 60), ("plain", TEXTS[0]), ("second", TEXTS[0])]
    for place in range(len(hostile) + 1):
        requests = [*hostile[:place], ("first", TEXTS[0]), *hostile[place:]]
        assert served.together(requests)[place].tobytes() == alone.tobytes()


def test_the_stem_is_loaded_once_and_takes_its_memory_once(served: Served, whole: Served, catalogue: Catalogue) -> None:
    residents = served.engine.memory.report().residents
    (stem,) = [key for key in residents if key.is_stem]
    assert len(residents) == 4
    assert {key.stem for key in residents} == {stem.stem}
    weights = sum(size - OVERHEAD for size in residents.values())
    copies = sorted(size - OVERHEAD for size in whole.engine.memory.report().residents.values())
    assert weights < sum(copies[:2]) < sum(copies)
    assert {type(model.backbone) for model in served.models.values()} == {StemmedBackbone}


def test_what_never_fits_with_its_stem_makes_nobody_leave(served: Served, catalogue: Catalogue) -> None:
    """Each half alone would fit."""
    servable = next(s for s in _servables(catalogue).values() if s.backbone.stem is not None)
    residents = served.engine.memory.report().residents
    stem = max(size for key, size in residents.items() if key.is_stem)
    memory = MemoryBudget(stem + 1)
    told: list[ResidentKey] = []
    memory.evict = told.append
    with pytest.raises(FailedPrecondition, match="more than the whole memory budget"):
        Engine(EngineOptions(token_budget=64), memory).load(servable)
    assert told == []
    assert memory.report().residents == {}


def test_the_stem_goes_with_the_last_backbone_on_it(catalogue: Catalogue) -> None:
    engine = Engine(EngineOptions(token_budget=256))
    models = [engine.load(servable) for servable in _servables(catalogue).values()]
    for left in (3, 2, 1):
        models.pop()
        gc.collect()
        assert len(engine.memory.report().residents) == (left if left > 1 else 0)


def test_a_parent_is_served_whole_where_its_cut_is_gone_or_of_an_older_export(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = catalogue.version(Reference("tiny")).subject
    assert load_backbone(catalogue, parent).stem is not None
    artefact = catalogue.artefact(parent)
    exported_anew = replace(artefact, files={**artefact.files, "graph": Digest("sha256:" + "0" * 64)})
    assert stored_stem(catalogue, exported_anew) is None
    cuts = {catalogue.artefact(_backbone(catalogue, name)).files[CUT] for name in ("first", "second")}
    has = catalogue.store.has
    monkeypatch.setattr(catalogue.store, "has", lambda digest: digest not in cuts and has(digest))
    assert load_backbone(catalogue, parent).stem is None


def test_tritonclient_gets_the_bits_of_whole_backbones(settings: Settings, whole: Served) -> None:
    with background_server(settings) as server, triton.InferenceServerClient(server.address) as client:
        for name in MODELS:
            text = triton.InferInput("text", [2], "BYTES")
            text.set_data_from_numpy(np.array([t.encode() for t in TEXTS[:2]], dtype=object))
            answer = client.infer(name, [text]).as_numpy("logits")
            expected = whole.together([(name, t) for t in TEXTS[:2]])
            assert answer.tobytes() == np.concatenate(expected).tobytes()
        (lane,) = server.scheduler.statistics().backbones
        assert lane.depth == "layer.1"
        statistics = client.get_inference_statistics().model_stats
        assert sum(lane.backbone.removeprefix("sha256:")[:12] in entry.name for entry in statistics) == 1


def test_a_child_of_a_child_whose_same_layer_learned_again_has_the_same_stem(
    settings: Settings, catalogue: Catalogue, tmp_path: Path
) -> None:
    """It is cut from its own parent, and what it inherits of that one's cut is nothing but the weights."""
    arguments = ["fine-tune", "--backbone", "first", "--head", "text-classification", "--strategy", "last-1"]
    arguments += ["--data", str(_data(tmp_path / "again.csv", 7)), "--name", "again", "--report", "none"]
    quick = ["--epochs", "1", "--backbone-epochs", "1", "--patience", "0", "--batch-size", "8"]
    environment = {"HEADSTOCK_HOME": str(settings.home), "HEADSTOCK_ACTOR": "tester"}
    result = CliRunner(env=environment).invoke(cli, [*arguments, *quick], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    cuts = [
        Cut.from_json(catalogue.store.read_json(catalogue.artefact(_backbone(catalogue, name)).files[CUT]))
        for name in ("first", "again")
    ]
    assert cuts[1].parent == _backbone(catalogue, "first") != cuts[0].parent
    assert cuts[1].stem == cuts[0].stem
