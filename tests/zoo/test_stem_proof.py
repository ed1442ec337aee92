"""A cut is kept only where both halves are proven to be the whole, and no row sees another one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from headstock.catalogue import Catalogue
from headstock.digest import Digest, digest_file
from headstock.hookspecs import LayerGroup
from headstock.servable import ServableBackbone, load_backbone
from headstock.stem import make
from headstock.stem.make import last_frozen, make_cut
from headstock.stem.record import PARENT_UPPER, STEM, UPPER, Cut, stem_digest
from headstock.testing.toy import publish_backbone

OTHER = Digest("sha256:" + "1" * 64)


def parent_of(catalogue: Catalogue, **how: Any) -> ServableBackbone:
    return load_backbone(catalogue, publish_backbone(catalogue, **how).subject)


def child_graph(parent: ServableBackbone, path: Path) -> Path:
    """The parent's graph with another dense layer."""
    model = onnx.load(str(parent.graph))
    (dense,) = [tensor for tensor in model.graph.initializer if tensor.name == "dense.weight"]
    dense.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(dense) * np.float32(1.5), dense.name))
    onnx.save(model, path)
    return path


def cut_of(catalogue: Catalogue, parent: ServableBackbone, folder: Path) -> tuple[Cut, dict[str, Digest]] | None:
    identity = replace(parent.identity, weights=OTHER)
    return make_cut(catalogue.store, parent, identity, child_graph(parent, folder / "child.onnx"), "table", folder)


def test_a_proven_cut_is_stored_under_the_stems_own_name(empty_catalogue: Catalogue, tmp_path: Path) -> None:
    parent = parent_of(empty_catalogue)
    made = cut_of(empty_catalogue, parent, tmp_path)
    assert made is not None
    cut, files = made
    assert (cut.parent, cut.frozen, cut.parent_graph) == (parent.digest, "table", digest_file(parent.graph))
    assert cut.stem == stem_digest(files[STEM], parent.identity.preprocess, "fp32")
    assert files[UPPER] != files[PARENT_UPPER]
    assert Cut.from_json(cut.to_json()) == cut
    assert all(empty_catalogue.store.has(blob) for blob in files.values())


def test_halves_that_are_not_the_whole_are_not_kept(
    empty_catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = make.cut

    def swapped(*arguments: Any) -> Any:
        parts = real(*arguments)
        return parts and replace(parts, child=parts.parent, parent=parts.child)

    monkeypatch.setattr(make, "cut", swapped)
    assert cut_of(empty_catalogue, parent_of(empty_catalogue), tmp_path) is None


def test_a_backbone_whose_rows_see_each_other_is_not_cut(empty_catalogue: Catalogue, tmp_path: Path) -> None:
    assert cut_of(empty_catalogue, parent_of(empty_catalogue, leaky=True), tmp_path) is None


def test_a_cut_that_breaks_costs_the_cut_and_not_the_run(
    empty_catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*arguments: Any) -> Any:
        raise ValueError("a graph that nobody foresaw")

    monkeypatch.setattr(make, "cut", broken)
    assert cut_of(empty_catalogue, parent_of(empty_catalogue), tmp_path) is None
    assert "served whole" in caplog.text


def test_backbones_of_other_preprocessing_share_nothing(empty_catalogue: Catalogue, tmp_path: Path) -> None:
    parent = parent_of(empty_catalogue)
    identity = replace(parent.identity, weights=OTHER, preprocess=OTHER)
    assert make_cut(empty_catalogue.store, parent, identity, parent.graph, "table", tmp_path) is None


def test_frozen_counts_from_the_input_up_to_the_first_group_that_moved() -> None:
    groups = [LayerGroup(name, (f"{name}.",)) for name in ("embeddings", "layer.0", "layer.1")]
    before = {"embeddings": OTHER, "layer.0": OTHER, "layer.1": OTHER}
    moved = Digest("sha256:" + "2" * 64)
    assert last_frozen(groups, before, {**before, "layer.1": moved}) == "layer.0"
    assert last_frozen(groups, before, {**before, "layer.0": moved}) == "embeddings"
    assert last_frozen(groups, before, {**before, "embeddings": moved}) == ""
    assert last_frozen(groups, {}, before) == ""
