"""What was concluded about whole compositions; what many of them are made of is looked at once."""

from __future__ import annotations

from headstock.licences.aliases import NOASSERTION
from headstock.licences.facts import Facts


class Settlements:
    """Conclusions by composition, from one snapshot."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._spoken: dict[str, str] = {}

    def concluded(self, digest: str) -> str:
        """What somebody decided about it and its parts; `NOASSERTION` unless all that sources speak of is decided."""
        parts = {digest, *(part for _, part in self._facts.parts(digest))}
        spoken = {said for part in parts if (said := self._part(part))}
        if not spoken or NOASSERTION in spoken:
            return NOASSERTION
        return " AND ".join(f"({text})" if " " in text and len(spoken) > 1 else text for text in sorted(spoken))

    def _part(self, digest: str) -> str:
        """The decision about one artefact, `NOASSERTION` without one; empty where nobody says anything of it."""
        known = self._spoken.get(digest)
        if known is None:
            decision = self._facts.conclusions.get(digest)
            silent = decision is None and not self._facts.own_statements(digest)
            known = "" if silent else decision.expression if decision else NOASSERTION
            self._spoken[digest] = known
        return known
