"""What the contract kit tries this plugin on."""

from __future__ import annotations

from functools import partial

from headstock.testing import Case, FamilyCase, ObjectiveCase
from headstock.testing.tiny_tabular import make_tiny_tabular


def check_cases() -> list[Case]:
    """A tiny checkpoint per network, and one of a table that has numbers alone."""
    numbers = partial(make_tiny_tabular, types=("numeric",))
    return [
        FamilyCase("tabular", files=make_tiny_tabular, variant="ft-transformer"),
        FamilyCase("tabular", files=partial(make_tiny_tabular, network="mlp"), variant="mlp"),
        FamilyCase("tabular", files=numbers, variant="numbers alone"),
        ObjectiveCase("columns", "tabular", make_tiny_tabular, refused={"masked": 1.0}),
    ]
