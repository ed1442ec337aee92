"""The BERT family: which checkpoints it reads, and what they turn into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from headstock.checkpoint import check_config, plain_value, weights_file
from headstock.errors import Unsupported
from headstock.hookspecs import BackboneFamily, LayerGroup, SourceFiles
from headstock.records import PaddingRule, Tap, TensorSpec
from headstock_text.tokenizer import text_preprocess, tokenizer_file

if TYPE_CHECKING:
    import torch

    from headstock.preprocess import PreprocessSpec
    from headstock_text.bert.module import BertBackbone

INPUTS = ("input_ids", "attention_mask", "token_type_ids")

# What a config.json that leaves a key out means, as BERT was published.
_PUBLISHED: Mapping[str, int | float | str] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "vocab_size": 30522,
    "position_embedding_type": "absolute",
}


class BertFamily(BackboneFamily):
    """Encoders with BERT's architecture, from transformers checkpoints."""

    name: ClassVar[str] = "bert"
    modality: ClassVar[str] = "text"
    padding: ClassVar[PaddingRule] = "mask"

    def recognises(self, files: SourceFiles) -> bool:
        """True for `model_type` bert, or an architecture of that name in configs that are older than the key."""
        model_type = files.config.get("model_type")
        named = [str(a) for a in files.config.get("architectures") or ()]
        return model_type == "bert" or (model_type is None and any(a.startswith("Bert") for a in named))

    def load(self, files: SourceFiles) -> torch.nn.Module:
        """The encoder without pooler and task head."""
        from headstock_text.bert.module import load_bert

        return load_bert(weights_file(files.root, files.spec), self.architecture(files), files.spec)

    def architecture(self, files: SourceFiles) -> Mapping[str, Any]:
        """BERT's sizes, activation and epsilon; dropout is left out, for a backbone is used in eval mode."""
        config = files.config
        check_config(config)
        if config.get("is_decoder") or config.get("add_cross_attention"):
            raise Unsupported(f"{files.spec!r} is a BERT decoder (is_decoder); family 'bert' reads encoders")
        architecture = {key: plain_value(config, key, default) for key, default in _PUBLISHED.items()}
        if architecture["position_embedding_type"] != "absolute":
            raise Unsupported(
                f"{files.spec!r} has position_embedding_type {architecture['position_embedding_type']!r}; "
                "family 'bert' reads 'absolute'"
            )
        return architecture

    def taps(self, module: torch.nn.Module) -> Sequence[Tap]:
        """`tokens` [n, len, d], `cls` [n, d] (first token), `mean` [n, d] (over real tokens)."""
        width = cast("BertBackbone", module).width
        return (Tap("tokens", (-1, -1, width)), Tap("cls", (-1, width)), Tap("mean", (-1, width)))

    def inputs(self, module: torch.nn.Module) -> Sequence[TensorSpec]:
        """Token ids, mask and segment ids, INT64 [n, len]."""
        return tuple(TensorSpec(name, "INT64", (-1, -1)) for name in INPUTS)

    def preprocess(self, files: SourceFiles) -> PreprocessSpec:
        """WordPiece tokens, cut at the right."""
        architecture = self.architecture(files)
        return text_preprocess(
            files,
            inputs=INPUTS,
            positions=architecture["max_position_embeddings"],
            vocabulary=architecture["vocab_size"],
        )

    def files(self, files: SourceFiles) -> Mapping[str, Path]:
        """Weights, configuration and tokenizer."""
        return {
            "weights": weights_file(files.root, files.spec),
            "config": files.root / "config.json",
            "tokenizer": tokenizer_file(files),
        }

    def layer_groups(self, module: torch.nn.Module) -> Sequence[LayerGroup]:
        """`embeddings`, then `layer.0` and up."""
        count = cast("BertBackbone", module).layers
        layers = [LayerGroup(f"layer.{i}", (f"bert.encoder.layer.{i}.",)) for i in range(count)]
        return (LayerGroup("embeddings", ("bert.embeddings.",)), *layers)
