"""Masked columns: a tabular backbone of the catalogue goes on with what `headstock pretrain` began."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from headstock.backbone.pull import pull
from headstock.catalogue import Catalogue
from headstock.finetune import read_table
from headstock.hookspecs import Batch, Studied
from headstock.names import Reference
from headstock.objectives import Pursuit, continue_backbone, plan_objective
from headstock.plugin_host import open_host
from headstock.servable import load_backbone
from headstock.settings import Settings
from headstock_tabular.objectives.columns import MaskedColumns
from headstock_tabular.objectives.teller import Teller
from headstock_tabular.pretrain import pretrain
from headstock_tabular.trainer import PretrainOptions


def write(path: Path, seed: int, factor: float) -> Path:
    """Rows in which `b` is `factor` times `a`, and `kind` says whether `a` is large."""
    dice = np.random.default_rng(seed)
    lines = [f"{a:.3f},{factor * a:.3f},{'big' if a > 0 else 'small'}" for a in dice.normal(size=200)]
    path.write_text("a,b,kind\n" + "\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue in `home` with backbone `rows`, pretrained for an epoch on a table."""
    folder = tmp_path_factory.mktemp("columns")
    options = PretrainOptions(network="mlp", sizes={"width": 32, "layers": 2}, epochs=1)
    pretrain(read_table(write(folder / "old.csv", 0, 2.0)), folder / "checkpoint", options)
    with Catalogue.open(settings(folder)) as catalogue:
        pull(catalogue, open_host(settings(folder)), f"path:{folder / 'checkpoint'}", "rows")
    return folder


def settings(folder: Path) -> Settings:
    return Settings.from_environment({**os.environ, "HEADSTOCK_HOME": str(folder / "home")})


def test_rows_of_another_kind_are_told_better_than_before(folder: Path) -> None:
    """`b` has changed its sign: the continued backbone tells hidden cells of unseen rows better."""
    table = read_table(write(folder / "new.csv", 1, -2.0))
    with Catalogue.open(settings(folder)) as catalogue:
        host = open_host(settings(folder))
        asked = Pursuit(epochs=20, head_epochs=2, backbone_rate=5e-3, learning_rate=1e-2, validation=0.2)
        recipe = plan_objective(catalogue, host, table, Reference("rows"), asked)
        assert recipe.head.type == "columns"
        assert recipe.data.columns == {}
        made = continue_backbone(catalogue, host, recipe, table, "rows-mine")
        assert made.version.kind == "backbone"
    found = made.report["held_out"]
    assert found["gain"]["low"] > 0
    assert found["after"]["explained"]["value"] > 0.3


def test_a_hidden_cell_looks_like_a_missing_one_and_is_asked_for(folder: Path) -> None:
    """Weight 1 where a cell was hidden, the option's where it was not, 0 where the table itself has none."""
    with Catalogue.open(settings(folder)) as catalogue:
        version = catalogue.version(Reference("rows"))
        reader = load_backbone(catalogue, version.subject).open_preprocessor()
        family = open_host(settings(folder)).family("tabular")
        tap = load_backbone(catalogue, version.subject).identity.tap("pooled")
    studied = Studied(family, torch.nn.Identity(), tap, reader)
    rows = reader.rows(['{"a": 1.0, "b": null, "kind": "big"}'] * 400)
    view = MaskedColumns().view(studied, rows, {"masked": 0.3, "visible": 0.25}, np.random.default_rng(0))
    truth = np.array(view.targets)
    numbers = np.stack([row.tensors["numeric"] for row in view.rows])
    kinds = np.stack([row.tensors["categorical"] for row in view.rows])
    assert (truth[:, 1, 1] == 0).all()
    assert set(np.unique(truth[:, 1, [0, 2]]).tolist()) == {0.25, 1.0}
    assert (np.isnan(numbers[:, 0]) == (truth[:, 1, 0] == 1.0)).all()
    assert ((kinds[:, 0] == 0) == (truth[:, 1, 2] == 1.0)).all()
    assert not np.isnan(rows[0].tensors["numeric"][0])


def test_terms_count_what_was_hidden_alone() -> None:
    """A number that is told with an error of 0.5 explains 0.75 of a variance; a seen one only weighs in the loss."""
    head = Teller(2, 2, ())
    with torch.no_grad():
        head.linear.weight.copy_(torch.eye(2))
        head.linear.bias.zero_()
    targets = torch.tensor([[[1.5, 7.0], [1.0, 0.3]]])
    terms = MaskedColumns().terms(head, Batch(torch.tensor([[1.0, 5.0]]), targets), {})
    assert terms.hits.tolist() == pytest.approx([0.75])
    assert terms.losses.tolist() == pytest.approx([(0.125 + 0.3 * 1.5) / 1.3])
    assert terms.counts.tolist() == [1.0]
