"""Towers looked up in the catalogue, and the space that two of them must share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headstock.digest import short
from headstock.errors import DigestMismatch, InvalidInput
from headstock.finetune.made import Standing
from headstock.names import Reference
from headstock.servable import load_backbone

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue

TAP = "embedding"
"""The tap of a tower that is its place in the space."""

PLUGIN = "headstock-multimodal"


@dataclass(frozen=True, slots=True)
class Tower(Standing):
    """A backbone that may be one tower of several."""

    @property
    def space(self) -> Mapping[str, Any] | None:
        """`digest`, `width` and `logit_scale` of the embedding space, None for a backbone without one."""
        found: Mapping[str, Any] | None = self.backbone.identity.architecture.get("space")
        return found

    def require(self, reads: str) -> Mapping[str, Any]:
        """The space of a tower that reads `reads`; raises `InvalidInput` for any other backbone."""
        if self.reads != reads:
            raise InvalidInput(
                f"backbone {self.name!r} reads {self.reads}; expected a tower that reads {reads}",
                fix="headstock list",
            )
        if self.space is None:
            raise InvalidInput(
                f"backbone {self.name!r} names no embedding space, so nothing says what its vectors compare with",
                fix="pull both towers of one checkpoint: headstock pull SOURCE --family clip-text, then clip-vision",
            )
        return self.space


def find_tower(catalogue: Catalogue, reference: Reference) -> Tower:
    """The backbone that `reference` means now; raises `NotFound`, `Corrupt`, and `InvalidInput` for a model."""
    version = catalogue.version(reference)
    if version.kind != "backbone":
        raise InvalidInput(f"{version} is a model; expected a backbone", fix="headstock list")
    return Tower(version.name, load_backbone(catalogue, version.subject))


def require_same_space(image: Tower, text: Tower) -> Mapping[str, Any]:
    """The space of an image tower and a text tower; raises `DigestMismatch` naming both digests if they differ."""
    one, other = image.require("image"), text.require("text")
    if one["digest"] != other["digest"]:
        raise DigestMismatch(
            f"{image.name!r} ({short(image.digest)}) and {text.name!r} ({short(text.digest)}) are not towers of one "
            f"checkpoint: their embedding spaces are {one['digest']} and {other['digest']}",
            fix="pull both towers from the same source",
        )
    return one
