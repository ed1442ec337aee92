"""RoBERTa, and XLM-RoBERTa, which is the same network with another vocabulary."""

from headstock_text.roberta.family import RobertaFamily

__all__ = ["RobertaFamily"]
