"""What image backbones go on learning without labels."""

from headstock.hookspecs import Objective
from headstock_vision.objectives.contrast import SimClr

OBJECTIVES: list[Objective] = [SimClr()]

__all__ = ["OBJECTIVES"]
