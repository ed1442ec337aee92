"""Learning without labels: an objective, rows and a backbone in; a backbone that knows the rows out."""

from headstock.objectives.continuation import Continued, continue_backbone
from headstock.objectives.plan import Pursuit, plan_objective

__all__ = ["Continued", "Pursuit", "continue_backbone", "plan_objective"]
