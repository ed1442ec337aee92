"""How the backbone is trained: in several processes, at a lower precision, compiled. The recipe says it, and the model
is judged and served at FP32 either way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headstock.catalogue import Catalogue
from headstock.errors import FailedPrecondition, InvalidInput
from headstock.finetune import Options, Outcome, Recipe, fine_tune, plan_recipe, read_table
from headstock.finetune.recipe import ComputeChoice
from headstock.finetune.run import RunFolder
from headstock.finetune.team import Team, team_of
from headstock.names import Reference
from headstock.plugin_host import open_host
from headstock.predictor import Predictor
from headstock.records import ModelIdentity
from headstock.settings import Settings

PLAIN = {"device": "cpu", "precision": "fp32", "compiler": "", "processes": 1}
WORDS = {"good": ("great", "fine", "thanks"), "bad": ("awful", "wrong", "broken")}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """34 labelled texts; with a quarter held out, batches of 8 leave a last one of 2 rows."""
    path = tmp_path / "rows.csv"
    lines = [f"{WORDS[kind][n % 3]} {'abc'[n % 3]} {n},{kind}" for n in range(17) for kind in WORDS]
    path.write_text("text,label\n" + "\n".join(lines) + "\n")
    return path


def planned(catalogue: Catalogue, rows: Path, strategy: str = "last-1", **compute: Any) -> Recipe:
    """The backbone learns for two epochs on batches of 8."""
    options = Options(
        strategy=strategy, epochs=1, backbone_epochs=2, patience=0, batch_size=8, backbone_rate=1e-2,
        compute=ComputeChoice(**{**PLAIN, **compute}) if compute else None,
    )  # fmt: skip
    host = open_host(catalogue.settings)
    return plan_recipe(catalogue, host, read_table(rows), Reference("tiny"), "text-classification", options)


def trained(home: Path, rows: Path, name: str, **compute: Any) -> tuple[Outcome, Recipe]:
    """A model by the recipe of `planned`, in this process."""
    with Catalogue.open(_settings(home)) as catalogue:
        recipe = planned(catalogue, rows, **compute)
        return fine_tune(catalogue, open_host(catalogue.settings), recipe, read_table(rows), name), recipe


def logits(home: Path, name: str) -> np.ndarray:
    with Catalogue.open(_settings(home)) as catalogue:
        answers = Predictor.open(catalogue, Reference(name)).predict([b"great a 1", b"awful b 2", b"broken thanks"])
    result: np.ndarray = answers.outputs["logits"]
    return result


def _settings(home: Path) -> Settings:
    return Settings.from_environment({**os.environ, "HEADSTOCK_HOME": str(home)})


def command(home: Path, rows: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """`headstock fine-tune` as `trained` does it, in a process of its own."""
    arguments = [
        "fine-tune", "--backbone", "tiny", "--head", "text-classification", "--data", str(rows),
        "--epochs", "1", "--backbone-epochs", "2", "--patience", "0", "--batch-size", "8", "--backbone-lr", "1e-2",
        "--report", "none", *more,
    ]  # fmt: skip
    return subprocess.run(
        [sys.executable, "-c", "from headstock.cli.main import main; main()", *arguments],
        env={**os.environ, "HEADSTOCK_HOME": str(home)},
        text=True,
        capture_output=True,
        timeout=240,
        check=False,
    )


def test_two_processes_move_as_one_does(tiny_home: Path, rows: Path) -> None:
    """Each takes half of every batch and all move by the sum: the same model but for the order of sums. Adapters,
    because in layers that learn dropout would draw for each process."""
    trained(tiny_home, rows, "alone", strategy="lora")
    ended = command(tiny_home, rows, "--name", "together", "--processes", "2", "--strategy", "lora")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("  head  ") == 1, "one process speaks"
    with Catalogue.open(_settings(tiny_home)) as catalogue:
        assert len(catalogue.versions("together")) == 1
        assert not list(catalogue.settings.runs.iterdir()), "the run folder goes when its model is published"
    assert np.abs(logits(tiny_home, "alone") - logits(tiny_home, "together")).max() < 1e-4
    again = command(tiny_home, rows, "--name", "together", "--processes", "2", "--strategy", "lora")
    assert "the newest version was this very model already" in again.stdout, again.stderr


def test_a_failure_in_several_processes_is_one_of_the_command(tiny_home: Path, rows: Path) -> None:
    """Here one of the two: the other waits for nobody."""
    with Catalogue.open(_settings(tiny_home)) as catalogue:
        with RunFolder(catalogue.settings.runs, planned(catalogue, rows, processes=2)):
            ended = command(tiny_home, rows, "--name", "together", "--processes", "2", "--strategy", "last-1")
        assert ended.returncode != 0
        assert f"is being run by process {os.getpid()}" in ended.stderr
        assert not catalogue.versions("together")


def test_lower_precision_changes_the_steps_and_not_what_is_served(tiny_home: Path, rows: Path) -> None:
    trained(tiny_home, rows, "full")
    outcome, recipe = trained(tiny_home, rows, "half", precision="bf16")
    assert recipe.to_json()["compute"] == {**PLAIN, "precision": "bf16"}
    apart = np.abs(logits(tiny_home, "full") - logits(tiny_home, "half")).max()
    assert 0 < apart < 0.5
    with Catalogue.open(_settings(tiny_home)) as catalogue:
        model = ModelIdentity.from_json(catalogue.artefact(outcome.version.subject).identity)
        assert catalogue.artefact(model.backbone).identity["precision"] == "fp32"


def test_a_compiled_backbone_learns_what_a_plain_one_does(tiny_home: Path, rows: Path) -> None:
    """With the compiler's front end alone: what it generates code with is not ours to test."""
    trained(tiny_home, rows, "plain")
    trained(tiny_home, rows, "compiled", compiler="eager")
    assert np.abs(logits(tiny_home, "plain") - logits(tiny_home, "compiled")).max() < 1e-4


def test_a_backend_that_torch_does_not_have_is_refused_with_those_that_it_has(tiny_home: Path, rows: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no backend 'inducktor'; expected one of .*inductor"):
        trained(tiny_home, rows, "none", compiler="inducktor")


def test_a_recipe_that_leaves_it_out_means_one_plain_process(tiny_home: Path, rows: Path) -> None:
    _, recipe = trained(tiny_home, rows, "plain")
    assert "compute" not in recipe.to_json()
    assert type(team_of(recipe.compute)) is Team


def test_nothing_of_the_backbone_is_trained_so_there_is_nothing_to_say_how(tiny_home: Path, rows: Path) -> None:
    with Catalogue.open(_settings(tiny_home)) as catalogue:
        host, table = open_host(catalogue.settings), read_table(rows)
        options = Options(compute=ComputeChoice(**{**PLAIN, "precision": "bf16"}))
        with pytest.raises(InvalidInput, match="trains no part of it"):
            plan_recipe(catalogue, host, table, Reference("tiny"), "text-classification", options)


def test_every_process_needs_two_rows_of_a_batch(tiny_home: Path, rows: Path) -> None:
    """Said when the run is planned, before any process is started."""
    with Catalogue.open(_settings(tiny_home)) as catalogue, pytest.raises(InvalidInput) as caught:
        planned(catalogue, rows, processes=8)
    assert caught.value.fix == "--batch-size 16"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_missing_gpu_is_an_error_and_never_the_cpu(tiny_home: Path, rows: Path) -> None:
    with pytest.raises(FailedPrecondition, match="torch sees no GPU"):
        trained(tiny_home, rows, "x", device="cuda")


def test_a_recipe_for_two_processes_says_so_to_one(tiny_home: Path, rows: Path) -> None:
    with pytest.raises(FailedPrecondition, match="for 2 processes and 1 were launched"):
        trained(tiny_home, rows, "x", processes=2)


def test_a_team_of_one_has_every_row_and_the_parts_of_two_are_all_of_them() -> None:
    assert Team().part([4, 5, 6]) == [4, 5, 6]
    parts = []
    for rank in range(2):
        team = Team()
        team.size, team.rank = 2, rank
        parts += team.part([4, 5, 6])
    assert sorted(parts) == [4, 5, 6]


def test_a_recipe_for_one_process_is_not_run_by_several(
    tiny_home: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them would train the whole of it, and publish."""
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(FailedPrecondition, match="for 1 process and 4 were launched") as caught:
        trained(tiny_home, rows, "x")
    assert caught.value.fix == "headstock fine-tune --processes 4"
