"""Head types for rows of tables."""

from headstock.hookspecs import HeadType
from headstock_tabular.heads.classification import TabularClassification, TabularMultiLabel, TabularPrototype
from headstock_tabular.heads.regression import TabularRegression

HEADS: tuple[HeadType, ...] = (
    TabularClassification(),
    TabularMultiLabel(),
    TabularPrototype(),
    TabularRegression(),
)
"""One of each."""

__all__ = ["HEADS", "TabularClassification", "TabularMultiLabel", "TabularPrototype", "TabularRegression"]
