"""BERT and what shares its architecture: MiniLM, BGE, E5."""

from headstock_text.bert.family import BertFamily

__all__ = ["BertFamily"]
