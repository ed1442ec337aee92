"""What a caller wants to see of the catalogue, and what it is shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from headstock.catalogue.listing import Listing
from headstock.errors import InvalidInput
from headstock.licences.context import Purpose

if TYPE_CHECKING:
    from headstock.licences.provenance import Provenance
    from headstock_server.repository import IndexRow
    from headstock_server.repository.ruling import Ruling

_DIGEST = re.compile(r"sha256:[0-9a-f]{8,64}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which versions a list is about; empty fields leave nothing out."""

    kind: str = ""
    """`backbone` or `model`."""
    may: str = ""
    """Only what is known to be allowed for this purpose."""
    backbone: str = ""
    """Beginning of a backbone's digest: it and what stands on it."""

    def check(self) -> None:
        """Raise `InvalidInput` for what can be no such thing."""
        if self.kind not in ("", "backbone", "model"):
            raise InvalidInput(f"kind {self.kind[:80]!r} is not known; expected 'backbone', 'model' or ''")
        if self.may not in ("", *get_args(Purpose)):
            raise InvalidInput(f"may is {self.may[:80]!r}; expected one of {list(get_args(Purpose))} or ''")
        if self.backbone and not _DIGEST.fullmatch(self.backbone):
            raise InvalidInput(
                f"backbone {self.backbone[:80]!r} is no digest; expected 'sha256:' and 8 to 64 hex digits, or ''"
            )


@dataclass(frozen=True, slots=True)
class Shown:
    """One line of a list."""

    listing: Listing
    row: IndexRow | None
    """None for a backbone, which is not served by its name."""
    ruling: Ruling | None
    """None where nobody asks."""


@dataclass(frozen=True, slots=True)
class Told:
    """Where one version comes from, and what this server makes of it."""

    provenance: Provenance
    signature: str
    """What the policy asks for: `enforce`, `warn` or `off`."""
    signed: bool
    """True if a signature is kept, whether it holds or not."""
    ruling: Ruling | None
    refused: str
    """Why it is not served to the caller; empty if nothing stands against it."""
