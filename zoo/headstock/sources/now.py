"""What a source says today: tag, card and licence texts of a hub repository or a folder, without its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headstock.digest import Digest, digest_file
from headstock.errors import NotFound
from headstock.licences.facts import TEXT_ROLES
from headstock.sources.evidence import folder_statements
from headstock.sources.fetched import Statement, documents_under


@dataclass(frozen=True, slots=True)
class Now:
    """The words of a source at one moment."""

    commit: str
    """Commit of the default branch; empty for a folder."""
    statements: tuple[Statement, ...]
    texts: Mapping[str, Digest]
    """Digests of the texts that a licence can be made of, by role, where the source has them."""


def hub_now(name: str, workdir: Path) -> Now:
    """Ask a hub's default branch, bringing only card and texts into `workdir`. Raises what `fetch` raises."""
    from headstock.sources.hub import fetch_words

    label, commit, tag = fetch_words(name, workdir)
    return Now(commit, (tag, *folder_statements(workdir, {}, label)), _texts(workdir))


def folder_now(folder: Path, label: str) -> Now:
    """Read a folder where it lies. Raises `NotFound`."""
    if not folder.is_dir():
        raise NotFound(f"the folder of {label} is not there; expected a folder with a card or licence texts")
    return Now("", tuple(folder_statements(folder, {}, label)), _texts(folder))


def _texts(root: Path) -> dict[str, Digest]:
    found = documents_under(root)
    return {role: digest_file(found[role]) for role in TEXT_ROLES if role in found}
