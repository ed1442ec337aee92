"""The hub's rules for a model card's front matter, checked offline, and licences in the hub's words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from headstock.licences import library
from headstock.licences.aliases import NOASSERTION, base

RELATIONS = ("adapter", "merge", "quantized", "finetune")
_REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")


def licence_ids() -> frozenset[str]:
    """The licence identifiers that the hub offers."""
    return frozenset(name for name, entry in library.aliases().items() if entry.get("hub"))


def licence_fields(said: str) -> dict[str, str]:
    """`license`, and with `other` also `license_name` and `license_link`, of what is concluded or declared.

    `NOASSERTION` and sources that contradict each other are `unknown`: never a licence that nobody stated.
    """
    if said == NOASSERTION or " / " in said:
        return {"license": "unknown"}
    exact = [name for name, e in sorted(library.aliases().items()) if e.get("hub") and e.get("licence") == said]
    if exact:
        return {"license": exact[0]}
    doc = library.find(base(said))
    name = re.sub(r"[^a-z0-9.]+", "-", said.removeprefix(library.REF).lower()).strip("-.")
    return {"license": "other", "license_name": name, "license_link": doc.documents[0].source if doc else "NOTICE"}


def problems(metadata: Mapping[str, Any]) -> list[str]:
    """What the hub would refuse or misread in a front matter; empty if nothing."""
    return [*_licence(metadata), *_names(metadata), *_results(metadata)]


def _licence(metadata: Mapping[str, Any]) -> Iterator[str]:
    licence = metadata.get("license")
    if licence not in licence_ids():
        yield f"license is {licence!r}; expected an identifier of the hub, or 'other' with a name and a link"
    name, link = metadata.get("license_name"), metadata.get("license_link")
    if licence == "other":
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            yield f"license is 'other' and license_name is {name!r}; expected lower-case letters, digits, dots, dashes"
        if not isinstance(link, str) or not (
            link.startswith("https://") or link in ("LICENSE", "LICENSE.md", "NOTICE")
        ):
            yield f"license is 'other' and license_link is {link!r}; expected an https address or a file of the folder"
    elif name is not None or link is not None:
        yield f"license_name and license_link go with 'other' only; license is {licence!r}"


def _names(metadata: Mapping[str, Any]) -> Iterator[str]:
    for key in ("base_model", "datasets"):
        value = metadata.get(key, [])
        for name in [value] if isinstance(value, str) else value:
            if not isinstance(name, str) or not _REPOSITORY.fullmatch(name):
                yield f"{key} holds {name!r}; expected a repository's name, ORG/NAME"
    relation = metadata.get("base_model_relation")
    if relation is not None and relation not in RELATIONS:
        yield f"base_model_relation is {relation!r}; expected one of {list(RELATIONS)}"
    if relation is not None and "base_model" not in metadata:
        yield "base_model_relation stands without a base_model"


def _results(metadata: Mapping[str, Any]) -> Iterator[str]:
    for model in metadata.get("model-index", []):
        for result in model.get("results", []):
            missing = [key for key in ("task", "dataset", "metrics") if not result.get(key)]
            if missing:
                yield f"a result of model-index lacks {missing}"
            for metric in result.get("metrics", []):
                if not isinstance(metric.get("value"), int | float):
                    yield f"metric {metric.get('type')!r} has the value {metric.get('value')!r}; expected a number"
