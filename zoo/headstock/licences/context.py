"""The use that a verdict is about: what for, for whom, where, how many, and which act."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

from headstock.errors import InvalidInput
from headstock.licences import places

if TYPE_CHECKING:
    from headstock.licences.terms import Trigger

Purpose = Literal["research", "internal", "commercial"]
Audience = Literal["self", "tenant", "public"]
Act = Literal["train", "serve", "distribute"]


@dataclass(frozen=True, slots=True)
class Context:
    """One use. The defaults are those of the policy file that comes with Headstock."""

    purpose: Purpose = "internal"
    audience: Audience = "self"
    """Who gets the answers; `tenant` and `public` are third parties."""
    act: Act = "serve"
    territory: str = ""
    """Where the operator is established: a country (ISO 3166-1 alpha-2) or `EU`; empty if not stated."""
    sector: str = ""
    """Field of use, in the words of the licence records (`medical-advice`, `military`...); empty: none of those."""
    scale: int | None = None
    """Monthly active users of the operator's products; None if not stated."""

    @classmethod
    def from_mapping(cls, value: Mapping[str, Any], base: Context | None = None) -> Context:
        """`base` (or the defaults) with the given fields; raises `InvalidInput` that says what is allowed."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(value) - known):
            raise InvalidInput(f"a context has no {unknown[0]!r}; it has {sorted(known)}")
        merged: dict[str, Any] = {**asdict(base or cls()), **value}
        for name, allowed in (("purpose", Purpose), ("audience", Audience), ("act", Act)):
            if merged[name] not in get_args(allowed):
                raise InvalidInput(f"{name} is {merged[name]!r}; expected one of {list(get_args(allowed))}")
        scale = merged["scale"]
        if scale is not None and (not isinstance(scale, int) or isinstance(scale, bool) or scale < 0):
            raise InvalidInput(f"scale is {scale!r}; expected a number of monthly users")
        merged["territory"] = places.territory(str(merged["territory"]))
        merged["sector"] = _sector(str(merged["sector"]))
        return cls(**merged)

    def triggers(self, modified: bool | None) -> dict[Trigger, bool | None]:
        """Which triggers this use pulls; None where that depends on whether the work counts as modified."""
        shared = self.act == "distribute"
        return {
            "use": True,
            "host": self.act == "serve" and self.audience != "self",
            "share": shared,
            "share-modified": modified if shared else False,
        }

    def within(self, area: str) -> bool | None:
        """Whether the operator is established in `area`; None if not stated."""
        return places.within(self.territory, area)

    def __str__(self) -> str:
        words = [self.act, f"for {self.purpose} use", f"to {self.audience}"]
        words += [f"in {self.territory}"] if self.territory else []
        words += [f"in the field {self.sector}"] if self.sector else []
        words += [f"with {self.scale} users"] if self.scale is not None else []
        return " ".join(words)


def _sector(text: str) -> str:
    """A field of use that some record speaks of: any other word would be allowed by all of them."""
    word = text.strip().lower().replace(" ", "-").replace("_", "-")
    if not word:
        return ""
    from difflib import get_close_matches

    from headstock.licences import library

    known = library.fields_of_use()
    if word in known:
        return word
    near = get_close_matches(word, known, n=3)
    raise InvalidInput(
        f"sector is {text!r}; expected one of {list(known)}, or none if yours is not among them",
        fix=" or ".join(near) if near else "headstock licence list --sectors",
    )
