"""What every source hands over: local verified files, and what was said about them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headstock.digest import Digest, digest_file
from headstock.errors import InvalidInput
from headstock.evidence import Covered
from headstock.hookspecs import SourceFiles
from headstock.records import Evidence

_LICENCE_TEXT = r"(?:LICENSE|LICENCE|COPYING)(?:[_-](?:MODELS?|WEIGHTS))?|MODEL[_-]LICEN[SC]E"
_ENDING = r"(?:\.[A-Za-z]+)?"
_WORDS = re.compile(rf"README\.md|(?:{_LICENCE_TEXT}|NOTICE|USE[_-]POLICY){_ENDING}")
_OF_WEIGHTS = re.compile(r"MODEL|WEIGHTS")
_TEXT = re.compile(rf"(?:{_LICENCE_TEXT}){_ENDING}")

_ALLOWED = re.compile(
    r"config\.json|[\w.-]+\.safetensors|model\.safetensors\.index\.json"
    r"|tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json"
    r"|vocab\.txt|vocab\.json|merges\.txt|spiece\.model|sentencepiece\.bpe\.model|tokenizer\.model"
    r"|modules\.json|config_sentence_transformers\.json|sentence_[a-z]+_config\.json|\d+_[A-Za-z]+/config\.json"
    rf"|preprocessor_config\.json|{_WORDS.pattern}"
)
"""Files that a backbone can need. Pickle (`*.bin`, `*.pt`) and code (`*.py`) are never fetched."""

_DOCUMENTS = {
    "card": ("README.md",),
    "licence": ("LICEN[SC]E", "LICEN[SC]E.*", "COPYING", "COPYING.*"),
    "model-licence": ("LICEN[SC]E[_-]*", "COPYING[_-]*", "MODEL[_-]LICEN[SC]E", "MODEL[_-]LICEN[SC]E.*"),
    "notice": ("NOTICE", "NOTICE.*"),
    "use-policy": ("USE[_-]POLICY", "USE[_-]POLICY.*"),
}
"""Role to patterns of the files that are kept for their words."""

_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")
_JSON_LIMIT = 4 << 20


@dataclass(frozen=True, slots=True)
class Statement:
    """One source's statement about the thing that was fetched, before that thing has a digest."""

    field: str
    value: str
    source: str
    locator: str
    raw: str = ""
    scope: Covered = ""
    """As in `Evidence`."""

    def about(self, subject: Digest) -> Evidence:
        """The same statement as a catalogue record about `subject`."""
        return Evidence(subject, self.field, self.value, self.source, self.locator, self.raw[:200], self.scope)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A source that is local, complete and hashed."""

    files: SourceFiles
    label: str
    """The source with its revision, free of this machine's paths: `hf:ORG/NAME@COMMIT`, `path:DIR-NAME`."""
    commit: str
    """Resolved commit of a hub source, version of a package, empty for a directory."""
    digests: Mapping[str, Digest]
    """Relative file name to digest of every file under `files.root`."""
    statements: tuple[Statement, ...]
    documents: Mapping[str, Path] = field(default_factory=dict)
    """`card`, `licence`, `model-licence`, `notice` and `use-policy`, where the source has them."""


def is_allowed(name: str) -> bool:
    """True if a file of this relative name may be fetched."""
    return _ALLOWED.fullmatch(name) is not None


def is_words(name: str) -> bool:
    """True for a card, a licence text, a use policy or a NOTICE."""
    return _WORDS.fullmatch(name) is not None


def is_licence_text(name: str) -> bool:
    """True for a licence of the weights; a `LICENSE-CODE` beside it is about something else."""
    return _TEXT.fullmatch(name) is not None


def covered_by(name: str) -> Covered:
    """What a licence text is about, as far as its file name says: `MODEL_LICENSE` weights, `LICENSE` nothing."""
    return "weights" if _OF_WEIGHTS.search(name) else ""


def check_complete(names: Iterable[str], label: str) -> None:
    """Raise `InvalidInput` unless the names hold a `config.json` and safetensors weights."""
    present = set(names)
    if "config.json" not in present:
        raise InvalidInput(
            f"{label} has no config.json, so no family can recognise it; expected a checkpoint folder",
            fix="the folder that save_pretrained() wrote",
        )
    if not any(name.endswith(".safetensors") and is_allowed(name) for name in present):
        pickled = sorted(name for name in present if name.endswith(_PICKLED))
        raise InvalidInput(
            f"{label} has no *.safetensors weights" + (f"; {pickled[:3]} may run code when read" if pickled else ""),
            fix="convert the checkpoint with its own library's save_pretrained(..., safe_serialization=True)"
            if pickled
            else None,
        )


def copy_allowed(folder: Path, root: Path) -> dict[str, Digest]:
    """Copy the allowed files of `folder` to `root`; what is hashed, loaded and stored is then one and the same."""
    digests = {}
    for name in sorted(names_under(folder)):
        if is_allowed(name):
            target = root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, target)
            digests[name] = digest_file(target)
    return digests


def names_under(folder: Path) -> list[str]:
    """Relative names of the files in `folder` and one level below: no allowed file lies deeper."""
    return [str(p.relative_to(folder)) for pattern in ("*", "*/*") for p in folder.glob(pattern) if p.is_file()]


def read_config(root: Path, label: str) -> Mapping[str, Any]:
    """The parsed `config.json`. Raises `InvalidInput` when it is not a JSON object of sane size."""
    path = root / "config.json"
    try:
        if path.stat().st_size > _JSON_LIMIT:
            raise InvalidInput(
                f"config.json of {label} has {path.stat().st_size} bytes; expected at most {_JSON_LIMIT}"
            )
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"config.json of {label} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise InvalidInput(f"config.json of {label} is a {type(config).__name__}; expected an object")
    return config


def documents_under(root: Path) -> dict[str, Path]:
    """Card, licence texts, NOTICE and use policy among fetched files, by role; of several, the plainest name."""
    found = {}
    for role, patterns in _DOCUMENTS.items():
        paths = [p for pattern in patterns for p in sorted(root.glob(pattern)) if p.is_file() and is_words(p.name)]
        if paths:
            found[role] = paths[0]
    return found
