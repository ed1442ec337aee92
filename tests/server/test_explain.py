"""A server says why each pass was released: the file of `--batch-trace`, one line of JSON for each pass."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from headstock.settings import Settings
from headstock_client import Client
from headstock_server.app import ServeOptions
from headstock_server.engine import EngineOptions
from headstock_server.testing import background_server


def test_the_trace_has_a_line_for_each_pass(toy_settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "passes.jsonl"
    options = ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=256), batch_trace=path)
    with background_server(toy_settings, options) as server:
        server.scheduler.hold(3)
        threads = [
            threading.Thread(target=_ask, args=(server.address, model, count))
            for model, count in (("sentiment", 2), ("intents", 1))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        recent = server.scheduler.recent()
    (line,) = path.read_text().splitlines()
    traced = json.loads(line)
    assert traced["models"] == {"sentiment:1": 2, "intents:1": 1}
    assert (traced["rows"], traced["reason"], traced["budget_tokens"]) == (3, "all", 256)
    assert traced["padded_tokens"] == (3 - traced["reused"]) * traced["longest"]
    assert traced["waste"] == round(1 - traced["real_tokens"] / traced["padded_tokens"], 4)
    assert traced["ran_ms"] > 0
    assert [p.models for p in recent] == [{("sentiment", 1): 2, ("intents", 1): 1}]


def _ask(address: str, model: str, count: int) -> None:
    with Client(address) as client:
        client.classify(model, ["a good day"] * count)
