"""DistilBERT: half of BERT's layers, trained to give the answers of all of them."""

from headstock_text.distilbert.family import DistilBertFamily

__all__ = ["DistilBertFamily"]
