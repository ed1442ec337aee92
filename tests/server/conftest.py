"""A toy catalogue with two models on one backbone, loaded by the real engine, for every test of the server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from headstock.catalogue import Catalogue
from headstock.settings import Settings
from headstock.testing.toy import Toy, ToyHead, publish_toy
from headstock_server.app import Running, ServeOptions
from headstock_server.engine import Engine, EngineOptions
from headstock_server.repository import Repository
from headstock_server.testing import background_server


def _settings(home: Path) -> Settings:
    return Settings.from_environment({"HEADSTOCK_HOME": str(home), "HEADSTOCK_ACTOR": "tester"})


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated home to copy: migrating costs more than most of these tests."""
    home = tmp_path_factory.mktemp("empty") / "home"
    Catalogue.open(_settings(home)).close()
    return home


@pytest.fixture
def catalogue(tmp_path: Path, empty_home: Path) -> Iterator[Catalogue]:
    """An empty catalogue of its own."""
    shutil.copytree(empty_home, tmp_path / "home")
    with Catalogue.open(_settings(tmp_path / "home")) as opened:
        yield opened


@pytest.fixture
def toy(catalogue: Catalogue) -> Toy:
    """Models `sentiment` and `intents` on backbone `toy`."""
    return publish_toy(catalogue)


@pytest.fixture
def engine() -> Engine:
    """An engine that does not spend time on profiling."""
    return Engine(EngineOptions(token_budget=256))


@pytest.fixture
def repository(catalogue: Catalogue, toy: Toy, engine: Engine) -> Iterator[Repository]:
    """Both toy models, loaded and followed."""
    opened = Repository(catalogue, engine, poll_seconds=0.02)
    opened.start()
    opened.wait(30)
    yield opened
    opened.close()


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
