"""What a recipe is called in a tracker, and its settings one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headstock.digest import digest_json


def run_name(recipe: Mapping[str, Any]) -> str:
    """`minilm-gradual-0a1b2c3d4e5f`: equal for equal recipes, so that a resumed run goes on where it was."""
    digest = digest_json(dict(recipe)).removeprefix("sha256:")
    return f"{recipe['backbone']['name']}-{recipe['strategy']['name']}-{digest[:12]}"


def settings(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of every setting, lists by number."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from settings(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        for index, inner in enumerate(value):
            yield from settings(inner, f"{path}.{index}")
    else:
        yield path, value
