"""What the catalogue answers besides its records: alias changes, events and the reports of gc and verify."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from headstock.digest import Digest


@dataclass(frozen=True, slots=True)
class AliasChange:
    """One move of an alias; the history is only ever appended to."""

    name: str
    alias: str
    number: int | None
    """Version it points to now; None when the alias went away with its entry."""
    previous: int | None
    """Version it pointed to before; None for a new alias."""
    at: str
    """UTC, ISO 8601, seconds."""
    actor: str
    reason: str
    action: Literal["promote", "rollback", "remove"]


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the audit log. `hash` covers every other field, `previous` among them."""

    id: int
    """Counts from 1 without gaps."""
    at: str
    """UTC, ISO 8601, seconds."""
    actor: str
    action: str
    """`publish`, `refresh` (newer files of a known artefact), `promote`, `rollback`, `remove`, `gc`, `repair`."""
    subject: str
    """What was acted on: `NAME:3`, `NAME:production`..."""
    detail: Mapping[str, Any]
    previous: Digest
    hash: Digest


@dataclass(frozen=True, slots=True)
class GcReport:
    """What a collection deleted, or would delete."""

    dry_run: bool
    blobs: tuple[Digest, ...]
    """Blobs that nothing needs."""
    bytes: int
    """Their size together."""
    artefacts: tuple[Digest, ...]
    """Records that nothing reaches."""
    kept: int
    """Blobs that stay."""
    young: int
    """Blobs that nothing names yet but a running pull or fine-tune may be about to."""
    temporaries: int
    """Files left by writers that died."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that `verify` found wrong."""

    kind: Literal["blob-missing", "blob-corrupt", "identity", "reference", "alias", "audit", "database"]
    message: str
    versions: tuple[str, ...] = ()
    """Versions that cannot be trusted because of it."""
    repaired: str = ""
    """What `--repair` did about it, if anything."""
    fix: str = ""
    """What to type next."""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What `verify` looked at and what it found."""

    problems: tuple[Problem, ...]
    blobs: int
    """Distinct blobs hashed."""
    bytes: int
    artefacts: int
    versions: int
    events: int
    temporaries: int
    """Files left by writers that died: harmless, gone after `--repair` or `gc`."""

    @property
    def clean(self) -> bool:
        """True if nothing is wrong."""
        return not self.problems
