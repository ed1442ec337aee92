"""What the contract kit tries this plugin on."""

from __future__ import annotations

from headstock.testing import Case, FamilyCase, HeadCase, ObjectiveCase, make_tiny_bert
from headstock.testing.position_rows import answer_rows, tagged_rows
from headstock.testing.tiny_text import make_tiny_distilbert, make_tiny_gpt, make_tiny_roberta


def check_cases() -> list[Case]:
    """A tiny checkpoint per family; head types that need other rows than the kit's own have them here."""
    return [
        FamilyCase("bert", files=make_tiny_bert),
        FamilyCase("roberta", files=make_tiny_roberta),
        FamilyCase("distilbert", files=make_tiny_distilbert),
        FamilyCase("gpt", files=make_tiny_gpt),
        HeadCase("token-classification", tagged_rows, refused={"spans": ["", "O O"]}),
        HeadCase("question-answering", answer_rows, refused={"answer": ["", None]}),
        ObjectiveCase("mlm", "bert", make_tiny_bert, refused={"masked": 1.5}),
    ]
