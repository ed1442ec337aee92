"""Promise 2 on real weights: MiniLM's rows have the same bits alone and at every batch size and slot, as served."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from headstock.catalogue import Catalogue
from headstock.names import Reference
from headstock.settings import Settings
from headstock.testing.toy import ToyHead, publish_model
from headstock_server.engine import Engine, EngineOptions
from headstock_server.repository import Repository
from headstock_server.scheduler import Scheduler, Ticket

SIZES = 64
WORDS = ("late", "order", "refund", "parcel", "broken", "where", "love", "never")
HOSTILE = ("", "where is my order please now")
"""The fewest tokens that a text can have, and twice as many as the others: every other row of the pass is padded.

Token ids cannot make MiniLM's features anything but finite; `test_isolation_served` has rows that do, on the toy.
"""
TEXTS = (*HOSTILE, *(f"{first} {second}" for first in WORDS for second in WORDS if first != second))
HEADS = ("vectors", "first")


class Served:
    """One scheduler over the real engine, whose passes take whatever waits."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._done = threading.Semaphore(0)
        self.scheduler = Scheduler(lambda tickets: self._done.release(len(tickets)))

    def together(self, texts: Sequence[int]) -> list[np.ndarray]:
        """Raw outputs of these texts, which ran in one pass; the heads take turns."""
        tickets = []
        for number in texts:
            model = self._repository.resolve(HEADS[number % 2])
            assert model is not None
            tickets.append(Ticket(model, model.backbone.preprocessor.rows([TEXTS[number]])))
        self.scheduler.hold(len(tickets))
        for ticket in tickets:
            self.scheduler.submit(ticket)
        for _ in tickets:
            assert self._done.acquire(timeout=60)
        record = self.scheduler.recent()[-1]
        assert sum(record.models.values()) == len(texts), "they shared a pass"
        results = [ticket.result for ticket in tickets]
        assert all(isinstance(result, np.ndarray) for result in results)
        return results  # type: ignore[return-value]


@pytest.fixture(scope="module")
def served(minilm_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Random heads on the mean of the tokens and on the first one, on a backbone whose passes have no bounds."""
    home = tmp_path_factory.mktemp("isolation") / "home"
    shutil.copytree(minilm_home, home)
    settings = Settings.from_environment({**os.environ, "HEADSTOCK_HOME": str(home)})
    with Catalogue.open(settings) as catalogue:
        backbone = catalogue.version(Reference("minilm"))
        publish_model(catalogue, "vectors", backbone, ToyHead(labels=(), out=64, seed=1))
        publish_model(catalogue, "first", backbone, ToyHead(tap="cls", labels=(), out=8, seed=2))
        repository = Repository(catalogue, Engine(EngineOptions(token_budget=1 << 20, padding_waste=1.0)))
        repository.start()
        repository.wait(60)
        made = Served(repository)
        yield made
        made.scheduler.close()
        repository.close()


def test_a_row_has_the_same_bits_alone_and_at_every_batch_size_and_slot(served: Served) -> None:
    """Passes of 2 to 64 different texts, both hostile ones in each; every slot of every size is compared."""
    alone = [served.together([number])[0].tobytes() for number in range(len(TEXTS))]
    assert len(set(alone)) == len(TEXTS), "the texts are told apart"
    random = np.random.default_rng(3)
    others = np.arange(len(HOSTILE), len(TEXTS))
    different = []
    for size in range(2, SIZES + 1):
        company = random.permutation(others)[: size - len(HOSTILE)]
        texts = random.permutation(np.concatenate([np.arange(len(HOSTILE)), company])).tolist()
        results = served.together(texts)
        different += [
            (size, slot, TEXTS[number])
            for slot, (number, result) in enumerate(zip(texts, results, strict=True))
            if result.tobytes() != alone[number]
        ]
    assert different == []
