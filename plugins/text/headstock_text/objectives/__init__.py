"""What text backbones go on learning without labels."""

from headstock.hookspecs import Objective
from headstock_text.objectives.masked import MaskedLanguage

OBJECTIVES: list[Objective] = [MaskedLanguage()]

__all__ = ["OBJECTIVES"]
