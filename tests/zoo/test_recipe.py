"""Recipes: all that decides a fine-tune, spelled out, strict, and stable by digest."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headstock.errors import InvalidInput
from headstock.finetune import Recipe

DIGEST = "sha256:" + "ab" * 32


def spelled() -> dict[str, Any]:
    return {
        "format": 1,
        "seed": 3,
        "backbone": {"name": "minilm", "digest": DIGEST},
        "head": {"type": "text-embedding", "tap": "mean", "options": {"width": 0, "temperature": 0.1}},
        "data": {"name": "tickets.csv", "sha256": DIGEST, "columns": {"text": "text", "label": "intent"}},
        "split": {"kind": "random", "fraction": 0.2, "stratified": True, "seed": 3},
        "strategy": {
            "name": "feature-extraction",
            "phases": [
                {
                    "name": "head", "live": [], "epochs": 5, "learning_rate": 0.001, "backbone_rate": 0.0, "decay": 1.0,
                    "schedule": "cosine",
                },
            ],
            "initial": "pretrained", "l2_sp": 0.0, "interpolation": 1.0, "lora_rank": 0, "lora_alpha": 0,
        },
        "optimizer": {
            "name": "adamw", "weight_decay": 0.01, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "batch_size": 32,
        },
        "stopping": {"patience": 10, "min_delta": 0.0},
        "features": {"cache": True},
    }  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every key whose name the recipe fixes; the free tables `options` and `columns` count as one."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if not isinstance(key, int):
            yield (*path, key)
        if isinstance(inner, (dict, list)) and key not in ("options", "columns", "live"):
            yield from places(inner, (*path, key))


def parent_of(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        value = value[key]
    return value


def test_a_recipe_survives_toml_and_json_with_its_digest(tmp_path: Path) -> None:
    recipe = Recipe.from_json(spelled())
    file = tmp_path / "recipe.toml"
    file.write_text(recipe.to_toml())
    assert Recipe.from_toml(file) == recipe
    assert Recipe.from_json(recipe.to_json()).digest == recipe.digest


def test_the_digest_of_a_recipe_never_changes_between_versions() -> None:
    """Run folders and stored recipes are found by it."""
    expected = "sha256:20e1a42ac24e9a2b348fed89e22abc4ac1e784512c6552b27fb19e12fcdd4503"
    assert Recipe.from_json(spelled()).digest == expected


@pytest.mark.parametrize("path", list(places(spelled())), ids=lambda p: ".".join(map(str, p)))
def test_there_are_no_hidden_defaults(path: tuple[Any, ...]) -> None:
    value = spelled()
    del parent_of(value, path)[path[-1]]
    with pytest.raises(InvalidInput, match=str(path[-1])):
        Recipe.from_json(value)


@pytest.mark.parametrize(
    "path, wrong, nearest",
    [
        ((), "sede", "seed"),
        (("backbone",), "diggest", "digest"),
        (("split",), "fractoin", "fraction"),
        (("optimizer",), "batchsize", "batch_size"),
        (("strategy", "phases", 0), "learning_rat", "learning_rate"),
        (("stopping",), "patients", "patience"),
    ],
)
def test_an_unknown_key_is_an_error_that_names_the_nearest(path: tuple[Any, ...], wrong: str, nearest: str) -> None:
    value = spelled()
    parent_of(value, (*path, wrong))[wrong] = 1
    with pytest.raises(InvalidInput) as caught:
        Recipe.from_json(value, "mine.toml")
    assert "mine.toml" in caught.value.message
    assert wrong in caught.value.message
    assert repr(nearest) in caught.value.message


@pytest.mark.parametrize(
    "path, wrong",
    [
        (("seed",), -1),
        (("format",), 2),
        (("backbone", "digest"), "abc"),
        (("split", "fraction"), 1.0),
        (("split", "kind"), "by-moon"),
        (("optimizer", "name"), "sgdx"),
        (("optimizer", "batch_size"), 0),
        (("strategy", "phases", 0, "learning_rate"), 0.0),
        (("strategy", "phases", 0, "learning_rate"), float("inf")),
        (("strategy", "phases", 0, "schedule"), "zigzag"),
        (("strategy", "phases"), []),
    ],
)
def test_a_value_out_of_range_is_named(path: tuple[Any, ...], wrong: Any) -> None:
    value = spelled()
    parent_of(value, path)[path[-1]] = wrong
    with pytest.raises(InvalidInput, match=str(path[0])):
        Recipe.from_json(value)


def test_every_setting_is_part_of_the_digest() -> None:
    digests = {Recipe.from_json(spelled()).digest}
    changes: list[tuple[tuple[Any, ...], Any]] = [
        (("seed",), 4),
        (("head", "tap"), "cls"),
        (("head", "options", "width"), 8),
        (("data", "columns", "label"), "other"),
        (("split", "seed"), 9),
        (("strategy", "phases", 0, "epochs"), 6),
        (("optimizer", "batch_size"), 16),
        (("stopping", "patience"), 0),
        (("features", "cache"), False),
    ]
    for path, new in changes:
        value = copy.deepcopy(spelled())
        parent_of(value, path)[path[-1]] = new
        digests.add(Recipe.from_json(value).digest)
    assert len(digests) == len(changes) + 1


def test_a_recipe_for_new_data_keeps_everything_else() -> None:
    recipe = Recipe.from_json(spelled())
    other = recipe.with_data("june.csv", "sha256:" + "cd" * 32)
    assert other.data.name == "june.csv"
    assert other.data.columns == recipe.data.columns
    assert other.with_data(recipe.data.name, recipe.data.sha256) == recipe


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "broken.toml"
    file.write_text("seed = = 1")
    with pytest.raises(InvalidInput, match=r"broken\.toml"):
        Recipe.from_toml(file)
    with pytest.raises(InvalidInput, match=r"absent\.toml"):
        Recipe.from_toml(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    "change, said",
    [
        ({"live": ["layer.0"]}, "backbone_rate must be above 0"),
        ({"backbone_rate": 0.1}, "backbone_rate must be above 0"),
    ],
)
def test_a_backbone_rate_stands_where_layers_are_live_and_nowhere_else(change: dict[str, Any], said: str) -> None:
    value = spelled()
    value["strategy"]["phases"][0].update(change)
    with pytest.raises(InvalidInput, match=said):
        Recipe.from_json(value)


@pytest.mark.parametrize(
    "change", [{"interpolation": 0.5}, {"l2_sp": 0.1}, {"initial": "random"}, {"lora_rank": 4, "lora_alpha": 8}]
)
def test_what_needs_a_backbone_that_learns_is_refused_without_one(change: dict[str, Any]) -> None:
    value = spelled()
    value["strategy"].update(change)
    with pytest.raises(InvalidInput, match=r"needs? a"):
        Recipe.from_json(value)
