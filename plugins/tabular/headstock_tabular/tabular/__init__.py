"""FT-Transformer and MLP on the typed columns of one table."""

from headstock_tabular.tabular.family import TabularFamily

__all__ = ["TabularFamily"]
