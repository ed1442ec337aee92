"""Promise 2, served: a row's raw outputs have the same bits alone and in any company, through the real engine."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from headstock.catalogue import Catalogue
from headstock.errors import HeadstockError
from headstock.settings import Settings
from headstock.testing.toy import MAX_LENGTH, POISON, VOCABULARY, ToyHead, publish_toy
from headstock_server.engine import Engine, EngineOptions, LoadedModel
from headstock_server.repository import Repository
from headstock_server.scheduler import Budget, Scheduler, Ticket

HEADS = {
    "sentiment": ToyHead(seed=1),
    "intents": ToyHead(labels=tuple("abcdefg"), seed=2),
    "vectors": ToyHead(labels=(), out=300, seed=3),
    "first": ToyHead(tap="cls", seed=4),
    "graph": ToyHead(seed=5, form="graph"),
    "throwing": ToyHead(seed=6, form="throwing"),
}
TARGET = "please refund my late order w7 w8"


class Served:
    """Submits groups of requests that are forced into one pass."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self._done = threading.Semaphore(0)
        self.scheduler = Scheduler(lambda tickets: self._done.release(len(tickets)))

    def model(self, name: str) -> LoadedModel:
        model = self.repository.resolve(name)
        assert model is not None
        return model

    def together(self, requests: Sequence[tuple[str, str]]) -> list[object]:
        """Results of one-row requests (model, text) that were all waiting when the pass was chosen."""
        tickets = []
        for name, text in requests:
            model = self.model(name)
            tickets.append(Ticket(model, model.backbone.preprocessor.rows([text])))
        self.scheduler.hold(len(tickets))
        for ticket in tickets:
            self.scheduler.submit(ticket)
        for _ in tickets:
            assert self._done.acquire(timeout=10)
        return [ticket.result for ticket in tickets]

    def passes(self) -> int:
        return sum(lane.passes for lane in self.scheduler.statistics().backbones.values())


def _serve(home: Path, *, leaky: bool) -> Iterator[Served]:
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(home)})) as catalogue:
        publish_toy(catalogue, HEADS, leaky=leaky)
        # A waste bound of 1 lets the most hostile lengths share a pass, which the real policy keeps apart.
        engine = Engine(EngineOptions(token_budget=1 << 20, padding_waste=1.0))
        repository = Repository(catalogue, engine)
        repository.start()
        repository.wait(30)
        served = Served(repository)
        yield served
        served.scheduler.close()
        repository.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    yield from _serve(tmp_path_factory.mktemp("served"), leaky=False)


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    yield from _serve(tmp_path_factory.mktemp("leaky"), leaky=True)


def _neighbours(random: np.random.Generator, count: int) -> list[tuple[str, str]]:
    """Rows of any head: one token, the most tokens, unknown words, and rows that are not finite."""
    kinds = [
        "w1",
        " ".join(["w2"] * MAX_LENGTH),
        "zzz qqq",
        POISON,
        f"good {POISON} bad",
        " ".join(VOCABULARY[4:40]),
    ]
    names = list(HEADS)
    return [(names[int(random.integers(len(names)))], kinds[int(random.integers(len(kinds)))]) for _ in range(count)]


@pytest.mark.parametrize("name", ["sentiment", "intents", "vectors", "first", "graph"])
def test_a_row_has_the_same_bits_alone_and_at_every_batch_size_and_slot(served: Served, name: str) -> None:
    """Passes of 2 to 64 rows, a third of which are hostile; a second pass has its other rows in their slots."""
    targets = [f"please refund my late order w{i}" for i in range(64)]
    alone = [served.together([(name, text)])[0] for text in targets]
    assert all(isinstance(answer, np.ndarray) for answer in alone)
    random = np.random.default_rng(11)
    for size in range(2, 65):
        hostile = np.arange(size) % 3 == random.integers(3)
        for mine in (~hostile, hostile):
            requests = _neighbours(random, size)
            for slot in np.flatnonzero(mine).tolist():
                requests[slot] = (name, targets[slot])
            before = served.passes()
            results = served.together(requests)
            assert served.passes() == before + 1
            for slot in np.flatnonzero(mine).tolist():
                assert np.asarray(results[slot]).tobytes() == np.asarray(alone[slot]).tobytes(), (size, slot)


def test_hostile_rows_fail_by_themselves(served: Served) -> None:
    good, bad, worse = served.together([("sentiment", TARGET), ("sentiment", POISON), ("graph", POISON)])
    assert isinstance(good, np.ndarray)
    assert isinstance(bad, HeadstockError)
    assert isinstance(worse, HeadstockError)
    assert "not finite" in bad.message


def test_a_head_that_throws_on_a_row_answers_the_rows_it_does_not_throw_on(served: Served) -> None:
    texts = [f"w{i} w{i + 1}" for i in range(24)]
    results = served.together([("throwing", text) for text in texts])
    answered = [r for r in results if isinstance(r, np.ndarray)]
    failed = [r for r in results if isinstance(r, HeadstockError)]
    assert answered
    assert failed
    assert all("throwing:1: the head failed on row 0" in error.message for error in failed)


def test_an_id_past_the_vocabulary_breaks_only_its_own_row(served: Served) -> None:
    model = served.model("sentiment")
    (alone,) = served.together([("sentiment", TARGET)])
    rows = model.backbone.preprocessor.rows([TARGET])
    broken = model.backbone.preprocessor.rows([TARGET])
    broken[0].tensors["input_ids"] = np.full_like(broken[0].tensors["input_ids"], len(VOCABULARY) + 5)
    tickets = [Ticket(model, rows), Ticket(model, broken)]
    served.scheduler.hold(2)
    for ticket in tickets:
        served.scheduler.submit(ticket)
    for _ in tickets:
        assert served._done.acquire(timeout=10)
    assert isinstance(tickets[0].result, np.ndarray)
    assert isinstance(alone, np.ndarray)
    assert tickets[0].result.tobytes() == alone.tobytes()
    assert isinstance(tickets[1].result, HeadstockError)


def test_the_toy_leaks_between_rows_where_it_says_so(leaky: Served) -> None:
    """Without this the tests above could pass because nothing can leak at all."""
    backbone = leaky.model("sentiment").backbone
    alone, pair = (
        backbone.infer(backbone.collate(backbone.preprocessor.rows(texts)), ["mean"])["mean"]
        for texts in ([TARGET], [TARGET, "w1"])
    )
    assert pair[0].tobytes() != alone[0].tobytes()


def test_a_backbone_that_leaks_is_served_row_by_row_with_the_right_answers(leaky: Served) -> None:
    assert leaky.model("sentiment").backbone.budget == Budget(leaky.model("sentiment").backbone.budget.tokens, rows=1)
    (alone,) = leaky.together([("sentiment", TARGET)])
    before = leaky.passes()
    results = leaky.together([("sentiment", TARGET), ("intents", "w1 w2"), ("sentiment", TARGET)])
    assert leaky.passes() == before + 3
    assert isinstance(alone, np.ndarray)
    for result in (results[0], results[2]):
        assert isinstance(result, np.ndarray)
        assert result.tobytes() == alone.tobytes()
