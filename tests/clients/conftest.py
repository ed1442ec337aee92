"""A real server over a toy catalogue, for every test of a client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headstock.catalogue import Catalogue
from headstock.settings import Settings
from headstock.testing.toy import ToyHead, publish_toy
from headstock_server.app import Running, ServeOptions
from headstock_server.engine import EngineOptions
from headstock_server.testing import background_server

TOY_MODELS = {
    "sentiment": ToyHead(seed=1),
    "intents": ToyHead(labels=("refund", "delivery", "other"), seed=2),
    "vectors": ToyHead(labels=(), out=4, seed=3),
}


@pytest.fixture(scope="module")
def toy_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A catalogue with two classifiers and an embedder on one toy backbone."""
    home: Path = tmp_path_factory.mktemp("toy")
    settings = Settings.from_environment({"HEADSTOCK_HOME": str(home), "HEADSTOCK_ACTOR": "tester"})
    with Catalogue.open(settings) as catalogue:
        publish_toy(catalogue, TOY_MODELS)
    return settings


@pytest.fixture(scope="module")
def toy_server(toy_settings: Settings) -> Iterator[Running]:
    """A server of that catalogue on a free port."""
    options = ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=256))
    with background_server(toy_settings, options) as server:
        yield server
