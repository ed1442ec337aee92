"""More than the server can do: refusals cost next to nothing, what was accepted is answered, and then it is over."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from headstock.catalogue import Catalogue
from headstock.preprocess import Preprocessor
from headstock.testing.toy import publish_toy
from headstock_client import Client, InvalidRequest, Overloaded, RetryPolicy
from headstock_server.app import Running, ServeOptions
from headstock_server.engine import EngineOptions
from headstock_server.scheduler import SchedulerOptions
from headstock_server.testing import background_server

OPTIONS = ServeOptions(
    bind="127.0.0.1:0",
    engine=EngineOptions(token_budget=256),
    scheduler=SchedulerOptions(queue_rows=8),
)
ONCE = RetryPolicy(attempts=1)
LONG = " ".join(["great"] * 100)


@pytest.fixture
def server(catalogue: Catalogue) -> Iterator[Running]:
    """With room for eight rows."""
    publish_toy(catalogue)
    with background_server(catalogue.settings, OPTIONS) as running:
        yield running


class Counting:
    """Counts what a preprocessor makes rows of."""

    def __init__(self, server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        model = server.repository.resolve("sentiment")
        assert model is not None
        self.preprocessor: Preprocessor = model.backbone.preprocessor
        self.texts = 0
        make = self.preprocessor.rows

        def rows(texts: list[bytes]) -> object:
            self.texts += len(texts)
            return make(texts)

        monkeypatch.setattr(self.preprocessor, "rows", rows, raising=True)


class Crowd:
    """Callers whose eight rows fill the queue of a scheduler that is held."""

    def __init__(self, server: Running) -> None:
        self.answers: list[object] = []
        self._server = server
        server.scheduler.hold(1000)
        self._threads = [threading.Thread(target=self._ask) for _ in range(8)]
        for thread in self._threads:
            thread.start()
        while server.scheduler.statistics().queued_rows < 8:
            self._threads[0].join(0.005)

    def _ask(self) -> None:
        with Client(self._server.address, deadline=30, retry=ONCE) as client:
            self.answers.append(client.infer("sentiment", {"text": ["great order"]}).outputs["label"])

    def go(self) -> None:
        """Let the scheduler run and wait for every answer."""
        self._server.scheduler.hold(0)
        for thread in self._threads:
            thread.join(30)


@pytest.mark.parametrize("texts", [["good"], ["good"] * 7, [LONG] * 5], ids=["one", "several", "in a thread"])
def test_a_refused_request_is_not_tokenised(server: Running, monkeypatch: pytest.MonkeyPatch, texts: list[str]) -> None:
    """It is refused before its rows are made, with the time to come back; the next one after the rush is taken."""
    counting, crowd = Counting(server, monkeypatch), Crowd(server)
    assert counting.texts == 8
    with Client(server.address, retry=ONCE) as client:
        for _ in range(20):
            with pytest.raises(Overloaded) as caught:
                client.infer("sentiment", {"text": texts})
        assert counting.texts == 8
        assert caught.value.retry_after is not None
        assert server.scheduler.statistics().refused == 20
        crowd.go()
        assert len(crowd.answers) == 8
        assert len(client.infer("sentiment", {"text": texts}).outputs["label"]) == len(texts)


def test_what_is_wrong_is_said_before_that_the_server_is_busy(server: Running) -> None:
    """A caller who would come back in vain is told so at once."""
    crowd = Crowd(server)
    with Client(server.address, retry=ONCE) as client, pytest.raises(InvalidRequest, match="'nothing'"):
        client.infer("sentiment", {"text": ["good"]}, ["nothing"])
    crowd.go()


def test_a_kept_answer_is_given_while_the_queue_is_full(catalogue: Catalogue) -> None:
    publish_toy(catalogue)
    with background_server(catalogue.settings, replace(OPTIONS, response_cache=1 << 20)) as server:
        with Client(server.address, retry=ONCE) as client:
            before = client.infer("sentiment", {"text": ["where is my order"]}).outputs["logits"].tobytes()
            crowd = Crowd(server)
            again = client.infer("sentiment", {"text": ["where is my order"]}).outputs["logits"].tobytes()
            with pytest.raises(Overloaded):
                client.infer("sentiment", {"text": ["where is the invoice"]})
            crowd.go()
        assert again == before


def test_ten_times_too_much_loses_no_work_and_is_over_when_it_is_over(server: Running) -> None:
    """Eighty callers at once in front of eight places: everybody gets an answer or a refusal, and then all is empty."""
    outcomes: list[str] = []
    start = threading.Barrier(80)

    def ask() -> None:
        with Client(server.address, deadline=30, retry=ONCE) as client:
            client.is_ready()
            start.wait(30)
            for _ in range(5):
                try:
                    client.infer("sentiment", {"text": ["great order"]})
                    outcomes.append("answered")
                except Overloaded:
                    outcomes.append("refused")

    threads = [threading.Thread(target=ask) for _ in range(80)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(outcomes) == 400
    found = server.scheduler.statistics()
    assert found.refused == outcomes.count("refused")
    assert sum(model.requests for model in found.models.values()) == outcomes.count("answered") > 0
    assert (found.queued_rows, found.queued_tokens) == (0, 0)
    with Client(server.address, retry=ONCE) as client:
        client.infer("sentiment", {"text": ["great order"]})
