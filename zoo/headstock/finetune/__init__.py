"""Fine-tuning: a recipe, a table and a backbone in; a version of a model out."""

from headstock.data import Table, read_table
from headstock.finetune.finetune import Outcome, assist, fine_tune
from headstock.finetune.observer import Observer
from headstock.finetune.plan import Options, plan_recipe
from headstock.finetune.recipe import Recipe
from headstock.finetune.strategy import Phase, Strategy

__all__ = [
    "Observer",
    "Options",
    "Outcome",
    "Phase",
    "Recipe",
    "Strategy",
    "Table",
    "assist",
    "fine_tune",
    "plan_recipe",
    "read_table",
]
