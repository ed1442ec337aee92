"""What third parties and our own tests stand on: the contract kit, tiny checkpoints and a toy backbone."""

from headstock.testing.cases import Case, FamilyCase, HeadCase, HeadRows, ObjectiveCase
from headstock.testing.check import Result, check_family, check_head_type, check_objective
from headstock.testing.tiny import make_tiny_bert

__all__ = [
    "Case",
    "FamilyCase",
    "HeadCase",
    "HeadRows",
    "ObjectiveCase",
    "Result",
    "check_family",
    "check_head_type",
    "check_objective",
    "make_tiny_bert",
]
