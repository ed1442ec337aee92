"""The contract kit: proves a family, a head type or an objective in a few lines, each promise a named result.

from headstock.testing import check_family, check_head_type

def test_acme():
    assert not [r for r in check_family(AcmeFamily(), files) if not r.passed]
"""

from __future__ import annotations

from headstock.testing.family_checks import check_family
from headstock.testing.head_checks import check_head_type
from headstock.testing.objective_checks import check_objective
from headstock.testing.results import Result

__all__ = ["Result", "check_family", "check_head_type", "check_objective"]
