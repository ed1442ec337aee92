"""What tabular backbones go on learning without labels."""

from headstock.hookspecs import Objective
from headstock_tabular.objectives.columns import MaskedColumns

OBJECTIVES: list[Objective] = [MaskedColumns()]

__all__ = ["OBJECTIVES"]
