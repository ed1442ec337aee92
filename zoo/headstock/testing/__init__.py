"""What third parties and our own tests stand on: the contract kit, tiny checkpoints and a toy backbone."""

from headstock.testing.cases import Case, FamilyCase, HeadCase, HeadRows
from headstock.testing.check import Result, check_family, check_head_type
from headstock.testing.tiny import make_tiny_bert

__all__ = ["Case", "FamilyCase", "HeadCase", "HeadRows", "Result", "check_family", "check_head_type", "make_tiny_bert"]
