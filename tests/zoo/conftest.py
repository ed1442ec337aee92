"""A tiny BERT on disk and pulled, and a local hub: one of each per run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headstock.catalogue import Catalogue
from headstock.settings import Settings
from headstock.testing.hub import LocalHub
from headstock.testing.tiny import make_tiny_bert


def _settings(home: Path) -> Settings:
    return Settings.from_environment({**os.environ, "HEADSTOCK_HOME": str(home)})


@pytest.fixture(scope="session")
def tiny_checkpoint(once_per_run: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A tiny BERT checkpoint folder; copy it before changing it."""
    return once_per_run("tiny-bert", lambda folder: make_tiny_bert(folder, hidden=16, layers=1))


@pytest.fixture(scope="session")
def tiny_home_master(once_per_run: Callable[[str, Callable[[Path], object]], Path], tiny_checkpoint: Path) -> Path:
    from headstock.backbone.pull import pull
    from headstock.plugin_host import open_host

    def make(home: Path) -> None:
        with Catalogue.open(_settings(home)) as catalogue:
            pull(catalogue, open_host(_settings(home)), f"path:{tiny_checkpoint}", "tiny")

    return once_per_run("tiny-home", make)


@pytest.fixture
def tiny_home(tiny_home_master: Path, tmp_path: Path) -> Path:
    """A HEADSTOCK_HOME of the test's own in which the tiny BERT is entry `tiny`."""
    return Path(shutil.copytree(tiny_home_master, tmp_path / "home"))


@pytest.fixture
def tiny_catalogue(tiny_home: Path) -> Iterator[Catalogue]:
    """A catalogue of the test's own in which the tiny BERT is entry `tiny`."""
    with Catalogue.open(_settings(tiny_home)) as catalogue:
        yield catalogue


@pytest.fixture
def empty_catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    """An empty catalogue of the test's own."""
    with Catalogue.open(_settings(tmp_path / "home")) as catalogue:
        yield catalogue


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalHub]:
    """An empty local hub that `hf:` sources reach, with a hub cache of the test's own."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    with LocalHub() as local:
        monkeypatch.setenv("HF_ENDPOINT", local.url)
        yield local
