"""What a session takes is measured where it is taken: in a process, not in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from headstock.catalogue import Catalogue
from headstock.report import resident
from headstock.report.forms import Form
from headstock.report.price import measure
from headstock.servable import load_backbone
from headstock.testing.dense import publish_dense

COLUMNS = [f"c{i}" for i in range(64)]
UNITS = 100_000


@pytest.fixture
def form(empty_catalogue: Catalogue) -> Form:
    """A private copy of a backbone whose weights have 25.6 MB, seen from the plain one."""
    small = publish_dense(empty_catalogue, "small", COLUMNS)
    layer = (np.ones((64, UNITS), np.float32), np.zeros(UNITS, np.float32))
    large = publish_dense(empty_catalogue, "large", COLUMNS, layer)
    base, own = (load_backbone(empty_catalogue, version.subject) for version in (small, large))
    return Form(base, "pooled", 64, 3, head_bytes=900, own=own)


def rows(form: Form) -> list:  # type: ignore[type-arg]
    record = json.dumps(dict.fromkeys(COLUMNS, 0.5))
    return form.base.open_preprocessor().rows([record] * 4)


def test_a_private_copy_costs_what_its_session_takes(form: Form, tmp_path: Path) -> None:
    shared = Form(form.base, "pooled", 64, 3, head_bytes=900)
    costs, _ = measure({"copy": form, "head": shared}, rows(form), tmp_path)
    weights = 64 * UNITS * 4
    assert costs["copy"].resident == "measured"
    assert weights < costs["copy"].extra_bytes == costs["copy"].first_bytes < 4 * weights
    assert (costs["head"].extra_bytes, costs["head"].first_bytes, costs["head"].resident) == (900, 900, "arrays")


def test_what_was_measured_once_is_not_measured_again(
    form: Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = measure({"copy": form}, rows(form), tmp_path)
    monkeypatch.setattr(resident.subprocess, "run", lambda *args, **more: pytest.fail("measured again"))
    assert measure({"copy": form}, rows(form), tmp_path)[0]["copy"].extra_bytes == first["copy"].extra_bytes


def test_where_the_system_does_not_tell_the_size_of_the_file_stands_in_and_says_so(
    form: Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resident, "_STATM", tmp_path / "no such file")
    assert form.own is not None
    cost = measure({"copy": form}, rows(form), tmp_path)[0]["copy"]
    assert cost.resident == "file sizes"
    assert cost.extra_bytes == form.own.graph.stat().st_size + 900
