"""Children that claim more freedom than their parents' terms leave them."""

from __future__ import annotations

from collections.abc import Sequence

from headstock.licences import library
from headstock.licences.aliases import base
from headstock.licences.expression import Expression
from headstock.licences.outbound import fits
from headstock.licences.statements import Finding


def relicensed(child: Sequence[Expression], parent: Sequence[Expression]) -> list[Finding]:
    """A finding for every parent's licence that none of the child's declared licences respects."""
    claimed = sorted({licence for expression in child for licence in expression.licences()})
    found = []
    for licence in sorted({name for expression in parent for name in expression.licences()}):
        doc = library.find(base(licence))
        if not claimed or doc is None or doc.outbound.mode == "any":
            continue
        if all(fits(licence, claim) == "deny" for claim in claimed) or doc.outbound.mode == "none":
            said = " and ".join(claimed)
            found.append(Finding("relicensed", f"its licence {licence} does not allow a child under {said} alone"))
    return found
