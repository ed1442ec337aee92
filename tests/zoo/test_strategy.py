"""Strategies as data: which groups are live in which phase, at what rate."""

from __future__ import annotations

import pytest

from headstock.errors import InvalidInput
from headstock.finetune.strategy import (
    BACKBONE_RATE,
    BUILT_IN,
    DISCRIMINATIVE,
    LORA_RATE,
    Pace,
    Strategy,
    built_in,
    rate,
)

GROUPS = ("embeddings", "layer.0", "layer.1")
PACE = Pace(epochs=7, backbone_epochs=3, learning_rate=0.1, backbone_rate=0.01)


def live(name: str) -> list[tuple[str, ...]]:
    return [phase.live for phase in built_in(name, PACE, GROUPS).phases]


@pytest.mark.parametrize(
    "name, expected",
    [
        ("feature-extraction", [()]),
        ("last-1", [("layer.1",)]),
        ("last-2", [("layer.0", "layer.1")]),
        ("full", [GROUPS]),
        ("lp-ft", [(), GROUPS]),
        ("l2-sp", [GROUPS]),
        ("wise-ft", [(), GROUPS]),
        ("lora", [(), GROUPS]),
        ("scratch", [GROUPS]),
        ("gradual", [(), ("layer.1",), ("layer.0", "layer.1"), GROUPS]),
    ],
)
def test_each_built_in_strategy_is_a_list_of_phases(name: str, expected: list[tuple[str, ...]]) -> None:
    assert live(name) == expected


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_strategy_reads_back_from_what_a_recipe_holds(name: str) -> None:
    strategy = built_in(name, PACE, GROUPS)
    assert Strategy.model_validate(strategy.model_dump(mode="json")) == strategy
    assert strategy.changes_backbone is (name not in ("feature-extraction", "lora"))


def test_gradual_unfreezing_gives_deeper_groups_a_smaller_rate_and_a_slanted_schedule() -> None:
    unfrozen = built_in("gradual", PACE, GROUPS).phases[1:]
    assert {phase.decay for phase in unfrozen} == {DISCRIMINATIVE}
    assert {phase.schedule for phase in unfrozen} == {"slanted"}


def test_adapters_learn_at_a_rate_of_their_own_unless_one_is_said() -> None:
    """They begin at zero: at the rate of pretrained weights the best epoch stays the last of the head alone."""
    assert built_in("full", Pace(), GROUPS).phases[0].backbone_rate == BACKBONE_RATE
    assert built_in("lora", Pace(), GROUPS).phases[1].backbone_rate == LORA_RATE
    assert built_in("lora", PACE, GROUPS).phases[1].backbone_rate == PACE.backbone_rate


@pytest.mark.parametrize("count", [0, 4])
def test_more_groups_than_there_are_is_told_with_their_names(count: int) -> None:
    with pytest.raises(InvalidInput, match=r"has 3: embeddings, layer\.0, layer\.1"):
        built_in(f"last-{count}", PACE, GROUPS)


def test_an_unknown_strategy_names_those_that_exist() -> None:
    with pytest.raises(InvalidInput, match="lp-ft") as caught:
        built_in("feature-extractoin", PACE)
    assert caught.value.fix == "--strategy feature-extraction"


def test_a_group_that_the_backbone_lacks_is_named_with_the_nearest() -> None:
    with pytest.raises(InvalidInput, match=r"'layer\.1'.*'tiny' has embeddings, layer\.0") as caught:
        built_in("last-1", PACE, GROUPS).require_groups(("embeddings", "layer.0"), "tiny")
    assert caught.value.fix == "write 'layer.0' instead"


def test_the_cosine_schedule_falls_from_the_rate_to_zero() -> None:
    rates = [rate("cosine", 0.5, step, 10) for step in range(11)]
    assert rates[0] == 0.5
    assert rates == sorted(rates, reverse=True)
    assert rates[10] == pytest.approx(0.0, abs=1e-12)


def test_the_constant_schedule_stays() -> None:
    assert {rate("constant", 0.5, step, 10) for step in range(10)} == {0.5}


def test_the_slanted_schedule_rises_for_a_tenth_and_falls_to_a_thirty_second() -> None:
    rates = [rate("slanted", 0.32, step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[10] == max(rates) == pytest.approx(0.32)
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0.01)
