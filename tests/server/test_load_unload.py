"""Loading and unloading for ever: memory stays where it was, whole backbones included."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import psutil

from headstock.catalogue import Catalogue
from headstock.servable import load_model
from headstock.settings import Settings
from headstock.testing.toy import ToyHead, publish_backbone, publish_model
from headstock_server.dataplane.statistics import Statistics
from headstock_server.engine import Engine, EngineOptions
from headstock_server.scheduler import Scheduler, Ticket

TURNS = 1000
WIDTH = 256
"""Wide enough that one backbone that stayed would take a seventh of a MiB, and a thousand 130 MiB."""
ALLOWED = 8 << 20
"""What allocators may keep for themselves."""


def _resident() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def test_a_thousand_loads_and_unloads_of_whole_backbones_leave_memory_flat(tmp_path: Path) -> None:
    """Each turn opens a session, answers a request through the scheduler and lets everything go again.

    Four backbones in turn, so that whatever is kept by name would be seen too; the first hundred turns warm up.
    """
    settings = Settings.from_environment({"HEADSTOCK_HOME": str(tmp_path), "HEADSTOCK_ACTOR": "tester"})
    with Catalogue.open(settings) as catalogue:
        servables = []
        for seed in range(4):
            backbone = publish_backbone(catalogue, f"backbone{seed}", width=WIDTH, seed=seed)
            version = publish_model(catalogue, f"model{seed}", backbone, ToyHead(seed=seed))
            servables.append(load_model(catalogue, version))
    assert TURNS * servables[0].backbone.graph.stat().st_size > 10 * ALLOWED, "a leak would be seen"
    engine = Engine(EngineOptions(token_budget=64))
    statistics = Statistics()
    delivered = threading.Semaphore(0)
    scheduler = Scheduler(lambda tickets: delivered.release(len(tickets)))

    def turn(number: int) -> None:
        model = engine.load(servables[number % 4])
        statistics.of(model)
        ticket = Ticket(model, model.backbone.preprocessor.rows(["great order"]))
        scheduler.submit(ticket)
        assert delivered.acquire(timeout=30)
        assert not isinstance(ticket.result, Exception)

    for number in range(TURNS // 10):
        turn(number)
    before = _resident()
    for number in range(TURNS):
        turn(number)
    assert scheduler.drain(30)
    scheduler.close()
    grown = _resident() - before
    assert engine.backbones() == []
    assert engine.memory.report().size == 0
    assert len(engine._loading) == 0
    assert grown < ALLOWED


def test_versions_that_came_and_went_are_forgotten_and_loaded_ones_are_not(tmp_path: Path) -> None:
    """Counters outlive an unload, up to a number; the scheduler is told what to drop."""
    settings = Settings.from_environment({"HEADSTOCK_HOME": str(tmp_path), "HEADSTOCK_ACTOR": "tester"})
    with Catalogue.open(settings) as catalogue:
        backbone = publish_backbone(catalogue)
        servables = [
            load_model(catalogue, publish_model(catalogue, f"m{i}", backbone, ToyHead(seed=i))) for i in range(12)
        ]
    forgotten: list[tuple[str, int]] = []
    statistics = Statistics(forgotten.extend, kept=4)
    engine = Engine(EngineOptions(token_budget=64))
    stays = engine.load(servables[0])
    statistics.of(stays).requests = 7
    for servable in servables[1:]:
        model = engine.load(servable)
        statistics.of(model).requests += 1
        del model
        gc.collect()
    assert statistics.of(stays).requests == 7
    assert len(statistics._counters) <= 8
    assert ("m0", 1) not in forgotten
    assert forgotten[:2] == [("m1", 1), ("m2", 1)]
    again = engine.load(servables[11])
    assert statistics.of(again).requests == 1, "what came back a moment later counts on"
