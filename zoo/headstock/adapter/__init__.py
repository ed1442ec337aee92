"""Adapters (LoRA): low-rank changes to a backbone that keep its digest, stored apart and served per row."""

from headstock.adapter.artefact import adapter_artefact
from headstock.adapter.graph import INDEX, lora_graph
from headstock.adapter.parameters import Pair, check_parameters, load_parameters
from headstock.adapter.torch_layers import fold, peft_parameters, target_weights

__all__ = [
    "INDEX",
    "Pair",
    "adapter_artefact",
    "check_parameters",
    "fold",
    "load_parameters",
    "lora_graph",
    "peft_parameters",
    "target_weights",
]
