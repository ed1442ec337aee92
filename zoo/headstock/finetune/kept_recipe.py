"""A recipe by what a person calls it: a file, or the version that was made by it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from headstock.errors import NotFound
from headstock.finetune.recipe import Recipe
from headstock.names import Reference

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue


def read_recipe(catalogue: Catalogue, source: str) -> Recipe:
    """The recipe in a file, or the one that a version was made by; raises `NotFound` and `InvalidInput`."""
    path = Path(source)
    if path.suffix == ".toml" or path.is_file():
        return Recipe.from_toml(path)
    version = catalogue.version(Reference.parse(source))
    blob = catalogue.artefact(version.subject).files.get("recipe")
    if blob is None:
        raise NotFound(f"{version} is a {version.kind} and has no recipe", fix="--recipe FILE.toml")
    return Recipe.from_json(catalogue.store.read_json(blob), f"recipe of {version}")
