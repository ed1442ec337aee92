"""A run that is killed goes on where it was and ends with the very head of an undisturbed run."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from headstock.catalogue import Catalogue
from headstock.errors import Conflict
from headstock.finetune import Observer, Options, Outcome, Recipe, Table, fine_tune, plan_recipe, read_table
from headstock.finetune.run import RunFolder
from headstock.names import Reference
from headstock.plugin_host import open_host
from headstock.settings import Settings
from headstock.testing.toy import publish_backbone

KILLS = int(os.environ.get("HEADSTOCK_KILLS", "3"))
"""How often the run is killed; ten for a full check."""
EPOCHS = 300


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def catalogue(home: Path) -> Iterator[Catalogue]:
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(home)})) as opened:
        publish_backbone(opened)
        yield opened


@pytest.fixture
def data(tmp_path: Path) -> Path:
    dice = random.Random(3)
    words = ("great", "good", "thanks", "awful", "bad", "broken")
    rows = [(f"w{dice.randrange(100)} w{dice.randrange(100)} {dice.choice(words)} {i}", i % 3) for i in range(40)]
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"{text},class {label}\n" for text, label in rows))
    return path


def recipe_of(catalogue: Catalogue, table: Table, *, epochs: int = 12) -> Recipe:
    host = open_host(catalogue.settings)
    options = Options(epochs=epochs, patience=0, batch_size=8)
    return plan_recipe(catalogue, host, table, Reference("toy"), "text-classification", options)


def train(catalogue: Catalogue, table: Table, name: str, observer: Observer | None = None, **more: Any) -> Outcome:
    host = open_host(catalogue.settings)
    return fine_tune(catalogue, host, recipe_of(catalogue, table, **more), table, name, observer=observer)


class StopAt(Observer):
    """Ends the process, so to speak, after some epoch of the run."""

    def __init__(self, epoch: int) -> None:
        self.said: list[str] = []
        self._epoch = epoch

    def say(self, message: str) -> None:
        self.said.append(message)

    def epoch(self, figures: Mapping[str, Any]) -> None:
        if figures["epoch"] == self._epoch:
            raise KeyboardInterrupt


# ------------------------------------------------------------------------------------------------ kill -9
def test_kill_9_at_random_epochs_then_the_head_of_an_undisturbed_run(
    catalogue: Catalogue, home: Path, data: Path
) -> None:
    calm = train(catalogue, read_table(data), "calm", epochs=EPOCHS)
    dice = random.Random(11)
    command = [
        sys.executable, "-c", "from headstock.cli.main import main; main()", "fine-tune", "--backbone", "toy",
        "--head", "text-classification", "--data", str(data), "--name", "killed", "--epochs", str(EPOCHS),
        "--patience", "0", "--batch-size", "8", "--verbose",
    ]  # fmt: skip
    environment = {**os.environ, "HEADSTOCK_HOME": str(home), "OMP_NUM_THREADS": "1"}
    for kill in range(KILLS):
        # Later kills hit later epochs, so that each resumed run gets further than the last.
        seen = _kill_after(command, environment, dice.randrange(1, EPOCHS // (2 * KILLS)))
        assert catalogue.versions("killed") == []
        assert not catalogue.verify().problems
        assert kill == 0 or any(line.startswith("resuming run") for line in seen)
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "resuming run" in finished.stderr
    assert calm.head in finished.stdout
    assert catalogue.versions("killed")[0].subject == calm.version.subject
    assert not catalogue.verify().problems


def _kill_after(command: list[str], environment: dict[str, str], epochs: int) -> list[str]:
    """Run until so many epochs were reported, then kill -9; returns what was said."""
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stdout is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if sum(said.startswith("epoch ") for said in seen) >= epochs:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "".join(seen)
    return seen


# ------------------------------------------------------------------------------------------------ every epoch
@pytest.mark.parametrize("epoch", [1, 2, 7, 11, 12])
def test_a_run_that_ends_after_any_epoch_continues_with_the_next(catalogue: Catalogue, data: Path, epoch: int) -> None:
    table = read_table(data)
    calm, stopper = train(catalogue, table, "calm"), StopAt(epoch)
    with pytest.raises(KeyboardInterrupt):
        train(catalogue, table, "stopped", stopper)
    watcher = StopAt(0)
    outcome = train(catalogue, table, "stopped", watcher)
    assert outcome.head == calm.head
    assert outcome.report["resumed_after"] == epoch
    assert f"after epoch {epoch} of at most 12" in watcher.said[0]
    assert [e["loss"] for e in outcome.report["history"]] == [e["loss"] for e in calm.report["history"]]


def test_a_damaged_checkpoint_is_told_and_the_run_starts_over(catalogue: Catalogue, data: Path) -> None:
    table = read_table(data)
    calm = train(catalogue, table, "calm")
    with pytest.raises(KeyboardInterrupt):
        train(catalogue, table, "stopped", StopAt(5))
    checkpoint = _folder(catalogue, table) / "checkpoint"
    data_of_it = bytearray(checkpoint.read_bytes())
    data_of_it[len(data_of_it) // 2] ^= 1
    checkpoint.write_bytes(data_of_it)
    watcher = StopAt(0)
    outcome = train(catalogue, table, "stopped", watcher)
    assert "damaged" in watcher.said[0]
    assert outcome.head == calm.head
    assert outcome.report["resumed_after"] == 0


def test_a_checkpoint_is_no_pickle(catalogue: Catalogue, data: Path) -> None:
    table = read_table(data)
    with pytest.raises(KeyboardInterrupt):
        train(catalogue, table, "stopped", StopAt(2))
    digest, _, body = (_folder(catalogue, table) / "checkpoint").read_bytes().partition(b"\n")
    assert digest.startswith(b"sha256:")
    assert body[8:9] == b"{"


# ------------------------------------------------------------------------------------------------ the run folder
def test_the_run_folder_is_gone_when_the_model_is_published(catalogue: Catalogue, data: Path) -> None:
    train(catalogue, read_table(data), "done")
    assert list(catalogue.settings.runs.iterdir()) == []


def test_a_kill_between_publication_and_clean_up_adds_no_second_version(
    catalogue: Catalogue, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = read_table(data)
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "remove", lambda self: None)
        first = train(catalogue, table, "once")
    again = train(catalogue, table, "once")
    assert again.version == first.version
    assert not again.fresh
    assert again.report["resumed_after"] == 12
    assert list(catalogue.settings.runs.iterdir()) == []


def test_two_processes_cannot_run_one_recipe(catalogue: Catalogue, data: Path) -> None:
    table = read_table(data)
    with RunFolder(catalogue.settings.runs, recipe_of(catalogue, table)), pytest.raises(Conflict) as caught:
        train(catalogue, table, "second")
    assert f"process {os.getpid()}" in caught.value.message
    assert train(catalogue, table, "second").fresh


def test_the_lock_dies_with_its_process(catalogue: Catalogue, data: Path) -> None:
    table = read_table(data)
    recipe = recipe_of(catalogue, table)
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(catalogue.settings.runs, recipe.to_json(), ready), daemon=True)
    holder.start()
    assert ready.wait(30)
    with pytest.raises(Conflict, match=f"process {holder.pid}"):
        train(catalogue, table, "after")
    holder.kill()
    holder.join()
    assert train(catalogue, table, "after").fresh


def _hold(root: Path, recipe: Mapping[str, Any], ready: Any) -> None:
    import time

    with RunFolder(root, Recipe.from_json(recipe)):
        ready.set()
        time.sleep(60)


def _folder(catalogue: Catalogue, table: Table) -> Path:
    return RunFolder(catalogue.settings.runs, recipe_of(catalogue, table)).folder
