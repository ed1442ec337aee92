"""Which tap a head stands on when nobody names one."""

from __future__ import annotations

import pytest

from headstock.finetune.taps import default_tap
from headstock.hookspecs import HeadType
from headstock.plugin_host import open_host
from headstock.records import Tap

TOKENS, WHOLE = (-1, -1, 8), (-1, 8)


def taps(*names: str) -> list[Tap]:
    return [Tap(name, TOKENS if name == "tokens" else WHOLE) for name in names]


@pytest.fixture(scope="module")
def heads() -> dict[str, HeadType]:
    host = open_host()
    return {name: host.head_type(name) for name in ("text-regression", "image-regression", "token-classification")}


@pytest.mark.parametrize(
    "head, offered, chosen",
    [
        ("text-regression", ("tokens", "pooled", "mean"), "mean"),
        ("text-regression", ("tokens", "pooled", "embedding"), "pooled"),
        ("image-regression", ("mean",), "mean"),
        ("token-classification", ("tokens", "mean"), "tokens"),
    ],
)
def test_a_head_takes_its_own_tap_or_the_one_that_means_the_same(
    heads: dict[str, HeadType], offered: tuple[str, ...], head: str, chosen: str
) -> None:
    """CLIP's text tower has no `mean`, and a head on its `pooled` features is what was meant."""
    assert default_tap(heads[head], taps(*offered)) == chosen


@pytest.mark.parametrize("head, offered", [("token-classification", ("pooled",)), ("text-regression", ("tokens",))])
def test_where_nothing_means_the_same_the_refusal_names_the_heads_own(
    heads: dict[str, HeadType], head: str, offered: tuple[str, ...]
) -> None:
    """A head for positions is never moved to a whole sample, nor the other way round."""
    assert default_tap(heads[head], taps(*offered)) == heads[head].tap
