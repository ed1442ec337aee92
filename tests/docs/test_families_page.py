"""docs/families.md is complete and true: every pair that the plugins offer has its row, and measuring again agrees."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from headstock.plugin_host import open_host

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "families.md").read_text()
MISSION = {
    "bert", "gpt", "roberta", "distilbert",
    "resnet", "vgg", "efficientnet", "vit",
    "wav2vec2", "deepspeech",
    "clip-text", "clip-vision",
    "tabular",
}  # fmt: skip
MEASURED_AGAIN = ("bert", "vgg", "clip-vision", "deepspeech", "tabular")
"""One or two of every modality; `make families` measures all."""

ROW = re.compile(r"\| `([\w-]+)` \| (.*) \|")


@pytest.fixture(scope="module")
def command() -> Iterator[Any]:
    """The module `scripts/families.py`."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        yield import_module("families")
    finally:
        sys.path.remove(str(ROOT / "scripts"))


def sections() -> Iterator[tuple[str, str, list[str]]]:
    """Family, head type and cells of every row."""
    for section in PAGE.split("\n### ")[1:]:
        family = re.split(r"[,\n]", section)[0]
        for name, cells in ROW.findall(section):
            yield family, name, cells.split(" | ")


def test_every_pair_of_a_modality_that_the_plugins_offer_has_its_row() -> None:
    """Counted from the manifests alone, so that neither a new family nor a new head can be forgotten."""
    host = open_host()
    ours = {manifest.name for manifest in host.manifests() if manifest.distribution == "headstock"}
    families = [family for family in host.families() if family.plugin in ours]
    heads = [head for head in host.heads() if head.plugin in ours]
    offered = {(f.name, h.name) for f in families for h in heads if f.modality == h.modality}
    assert {(family, head) for family, head, _ in sections()} == offered
    assert {family for family, _ in offered} >= MISSION


def test_no_row_has_an_empty_cell_or_a_figure_that_must_not_be() -> None:
    """A tap and five figures, or the reason why there are none; equal bits where bits must be equal."""
    reasons = []
    for family, head, (tap, *figures) in sections():
        assert len(figures) == 5, (family, head)
        if tap.startswith("needs a tap `"):
            assert set(figures) == {"–"}
            reasons.append((family, head))
            continue
        assert re.fullmatch(r"`\w+`", tap), (family, head)
        assert all(re.fullmatch(r"≤ \de-\d", figure) for figure in figures[:3]), (family, head)
        assert figures[3:] == ["0", "0"], (family, head)
    assert reasons == []


def test_measuring_some_families_again_agrees_with_the_page(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """All that a user does with a backbone, for every head that fits it; then the page is what would be written."""
    assert command.main(["--check", *MEASURED_AGAIN]) == 0, capsys.readouterr().out


def test_a_row_that_is_missing_or_no_longer_holds_is_told(command: Any) -> None:
    """Unmeasured pairs say so, and a figure above its bound replaces it."""
    shown = command.read(PAGE)
    del shown["gpt", "text-regression"]
    rendered = command.render(command.build(open_host(), shown, ()))
    assert [line for line in rendered.splitlines() if line not in PAGE.splitlines()] == [
        "| `text-regression` | **not measured** | – | – | – | – | – |"
    ]

    from family_table.measure import Measured
    from family_table.pairs import Fit

    old = ["`mean`", "≤ 1e-5", "≤ 1e-5", "≤ 1e-5", "0", "0"]
    kept = Measured("h", Fit("mean"), graph=9e-6, form=1e-9, served=0.0)
    assert command.cells(kept, old) == old
    worse = Measured("h", Fit("mean"), graph=2e-5, form=0.5, served=float("inf"), company=1e-7, clients=float("inf"))
    assert command.cells(worse, old) == ["`mean`", "≤ 1e-4", "**0.5**", "**differs**", "**1e-07**", "**differs**"]
