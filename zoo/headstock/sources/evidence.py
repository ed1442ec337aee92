"""What a source says about itself, each voice kept apart: card, licence text, package metadata, configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from headstock.sources.fetched import Statement, covered_by, is_licence_text
from headstock.sources.licence_ids import NOASSERTION, normalise
from headstock.sources.licence_text import first_words, recognise

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_FRONT_MATTER = re.compile(r"\A\s*---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
_READ_LIMIT = 1 << 20


class Metadata(Protocol):
    """The part of a package's metadata that is asked for."""

    def get_all(self, name: str, failobj: None = None) -> list[Any] | None:
        """Every value of one header."""


def card_statements(path: Path, locator: str) -> list[Statement]:
    """Licence and parent from a model card's front matter; a card that names no licence says `NOASSERTION`."""
    found = front_matter(_read(path), ("license", "license_name", "license_link", "base_model"))
    statements = [licence_statement(found.get("license"), "card", locator, found)]
    parents = found.get("base_model")
    for parent in parents if isinstance(parents, list) else [parents]:
        if isinstance(parent, str) and _REPOSITORY.fullmatch(parent):
            statements.append(Statement("parent", f"hf:{parent}", "card", locator, parent))
    return statements


def licence_statement(value: Any, source: str, locator: str, beside: Mapping[str, Any] | None = None) -> Statement:
    """The statement of one `license` value as hubs and cards write it.

    It is about the weights: hubs and cards speak of the model that they show. A list says neither "and" nor "or", so
    more than one licence is `NOASSERTION` with the list as raw text.
    """
    listed = [str(v) for v in value] if isinstance(value, list) else [] if value is None else [str(value)]
    raw = ", ".join(listed)
    for key in ("license_name", "license_link"):
        if beside and beside.get(key):
            raw += f"; {key}: {beside[key]}"
    value = normalise(listed[0]) if len(listed) == 1 else NOASSERTION
    return Statement("licence", value, source, locator, raw, "weights")


def licence_file_statements(path: Path, locator: str) -> list[Statement]:
    """The licence that a text is, word for word, with its first words; if none, which known one it is most like."""
    from headstock.licences.texts import recognise_words, resembled

    text, scope = _read(path), covered_by(path.name)
    known = recognise(text)
    known = recognise_words(text) or NOASSERTION if known == NOASSERTION else known
    said = [Statement("licence", known, "licence-file", locator, first_words(text), scope)]
    licence, likeness = resembled(text) if known == NOASSERTION else ("", 0.0)
    if licence:
        # Never a value: what is nearly a licence is another.
        said.append(Statement("licence", NOASSERTION, "similarity", locator, f"{likeness:.0%} like {licence}", scope))
    return said


def package_statements(metadata: Metadata, locator: str) -> list[Statement]:
    """One statement per `License-Expression` and `License` field; `License` may hold a whole text."""
    statements = []
    for header in ("License-Expression", "License"):
        for value in metadata.get_all(header) or ():
            text = str(value)
            known = normalise(text)
            known = recognise(text) if known == NOASSERTION else known
            raw = f"{header}: {first_words(text)}"
            statements.append(Statement("licence", known, "package-metadata", locator, raw))
    return statements


def config_statements(config: Mapping[str, Any], itself: str, locator: str) -> list[Statement]:
    """The parent that `_name_or_path` names, unless it is a folder of someone's machine or the source itself.

    timm writes the licence of the weight tag into `pretrained_cfg`; other configurations name none.
    """
    statements = []
    tag = config.get("pretrained_cfg")
    if isinstance(tag, Mapping) and tag.get("license"):
        statements.append(licence_statement(tag["license"], "config", f"{locator}#pretrained_cfg"))
    parent = config.get("_name_or_path")
    if isinstance(parent, str) and _REPOSITORY.fullmatch(parent) and parent != itself:
        statements.append(Statement("parent", f"hf:{parent}", "config", locator, f"_name_or_path: {parent}"))
    return statements


def folder_statements(root: Path, config: Mapping[str, Any], label: str, itself: str = "") -> list[Statement]:
    """What the files of a fetched folder say: card, licence texts, configuration."""
    statements = []
    if (root / "README.md").is_file():
        statements += card_statements(root / "README.md", f"{label}/README.md")
    for path in sorted(p for p in root.iterdir() if is_licence_text(p.name) and p.is_file()):
        statements += licence_file_statements(path, f"{label}/{path.name}")
    if (root / "tokenizer_config.json").is_file():
        statements += tokenizer_statements(root / "tokenizer_config.json", itself, f"{label}/tokenizer_config.json")
    return statements + config_statements(config, itself, f"{label}/config.json")


def tokenizer_statements(path: Path, itself: str, locator: str) -> list[Statement]:
    """The repository that a tokenizer was taken from, where its configuration names another than the source itself."""
    try:
        config = json.loads(_read(path))
    except ValueError:
        return []
    name = config.get("name_or_path") if isinstance(config, dict) else None
    if not isinstance(name, str) or not _REPOSITORY.fullmatch(name) or name == itself:
        return []
    return [Statement("tokenizer", f"hf:{name}", "config", locator, f"name_or_path: {name}")]


def front_matter(text: str, keys: Sequence[str]) -> dict[str, Any]:
    """The named top-level keys of a card's YAML front matter; an unreadable value is kept as its text.

    Only the lines of these keys are parsed: benchmark results make front matters of megabytes.
    """
    import yaml

    match = _FRONT_MATTER.match(text)
    found: dict[str, Any] = {}
    if match is None:
        return found
    blocks = re.split(r"^(?=[^\s#-])", match.group(1), flags=re.MULTILINE)
    for block in blocks:
        key = block.partition(":")[0].strip()
        if key in keys and len(block) < 10_000:
            try:
                value = yaml.safe_load(block)[key]
            except (yaml.YAMLError, TypeError, KeyError):
                value = block.partition(":")[2].strip()
            found[key] = value
    return found


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_READ_LIMIT).decode(errors="replace")
