"""What every text family has in common: token ids in, features per token and per text out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from headstock.checkpoint import check_config, plain_value, weights_file
from headstock.errors import Unsupported
from headstock.hookspecs import BackboneFamily, LayerGroup, SourceFiles, Vocabulary
from headstock.records import PaddingRule, Tap, TensorSpec
from headstock_text.tokenizer import Legacy, text_preprocess, tokenizer_file

if TYPE_CHECKING:
    import torch

    from headstock.preprocess import PreprocessSpec
    from headstock_text.backbone import TextBackbone


class TextFamily(BackboneFamily):
    """A family of transformers checkpoints with a tokenizer; padding is masked."""

    modality: ClassVar[str] = "text"
    padding: ClassVar[PaddingRule] = "mask"
    title: ClassVar[str]
    """The architecture's name in messages."""
    model_types: ClassVar[tuple[str, ...]]
    """`model_type` values of config.json."""
    class_prefix: ClassVar[str]
    """What transformers' class names begin with, for configs that are older than `model_type`."""
    published: ClassVar[Mapping[str, int | float | str]]
    """What transformers takes a key for that config.json leaves out, for every key that changes the function."""
    tensors: ClassVar[tuple[str, ...]] = ("input_ids", "attention_mask")
    """Inputs of the network, INT64 [n, len]."""
    pooled: ClassVar[tuple[str, ...]] = ("cls", "mean")
    """Taps with one vector per text; `tokens` comes before them."""
    legacy: ClassVar[Legacy] = "wordpiece"
    """How a tokenizer is made for checkpoints that are older than tokenizer.json."""

    masks: ClassVar[tuple[str, ...]] = ()
    """Tokens that may stand for a hidden one; empty for networks that do not read both ways."""

    @abstractmethod
    def network(self) -> type[TextBackbone]:
        """The network's class, imported when it is asked for."""

    def recognises(self, files: SourceFiles) -> bool:
        """True for the `model_type`, or an architecture of that name in configs that are older than the key."""
        model_type = files.config.get("model_type")
        named = [str(a) for a in files.config.get("architectures") or ()]
        return model_type in self.model_types or (
            model_type is None and any(a.startswith(self.class_prefix) for a in named)
        )

    def load(self, files: SourceFiles) -> torch.nn.Module:
        """The network without pooler and task head."""
        from headstock_text.backbone import load_backbone

        architecture = self.architecture(files)
        return load_backbone(self.network(), weights_file(files.root, files.spec), architecture, files.spec)

    def architecture(self, files: SourceFiles) -> Mapping[str, Any]:
        """Sizes, activation and epsilon; dropout is left out, for a backbone is used in eval mode."""
        config = self.settings(files)
        check_config(files.config)
        if config.get("is_decoder") or config.get("add_cross_attention"):
            raise Unsupported(
                f"{files.spec!r} is a {self.title} decoder (is_decoder or add_cross_attention); "
                f"family {self.name!r} reads networks that stand alone"
            )
        positions = config.get("position_embedding_type", "absolute")
        if positions != "absolute":
            raise Unsupported(
                f"{files.spec!r} has position_embedding_type {positions!r}; family {self.name!r} reads 'absolute'"
            )
        return {key: plain_value(config, key, default) for key, default in self.published.items()}

    def settings(self, files: SourceFiles) -> Mapping[str, Any]:
        """The part of config.json that describes the network: all of it."""
        return files.config

    def positions(self, architecture: Mapping[str, Any]) -> int:
        """Longest sequence in tokens that the network has positions for."""
        return int(architecture["max_position_embeddings"])

    def taps(self, module: torch.nn.Module) -> Sequence[Tap]:
        """`tokens` [n, len, d] and the family's pooled taps [n, d]."""
        width = cast("TextBackbone", module).width
        return (Tap("tokens", (-1, -1, width)), *(Tap(name, (-1, width)) for name in self.pooled))

    def inputs(self, module: torch.nn.Module) -> Sequence[TensorSpec]:
        """Token ids, mask and, where the family has them, token types; INT64 [n, len]."""
        return tuple(TensorSpec(name, "INT64", (-1, -1)) for name in self.tensors)

    def preprocess(self, files: SourceFiles) -> PreprocessSpec:
        """Tokens, cut at the right."""
        architecture = self.architecture(files)
        return text_preprocess(
            files,
            tokenizer=tokenizer_file(files, self.legacy),
            inputs=self.tensors,
            positions=self.positions(architecture),
            vocabulary=architecture["vocab_size"],
            pad_id=architecture.get("pad_token_id"),
            types=architecture.get("type_vocab_size", 2),
        )

    def files(self, files: SourceFiles) -> Mapping[str, Path]:
        """Weights, configuration and tokenizer."""
        return {
            "weights": weights_file(files.root, files.spec),
            "config": files.root / "config.json",
            "tokenizer": tokenizer_file(files, self.legacy),
        }

    def layer_groups(self, module: torch.nn.Module) -> Sequence[LayerGroup]:
        """`embeddings`, then `layer.0` and up, then what stands behind the last layer, as `last`."""
        backbone = cast("TextBackbone", module)
        layers = [LayerGroup(f"layer.{i}", (f"{backbone.layer_names}{i}.",)) for i in range(backbone.layers)]
        last = [LayerGroup("last", backbone.last_names)] if backbone.last_names else []
        return (LayerGroup("embeddings", backbone.embedding_names), *layers, *last)

    def vocabulary(self, module: torch.nn.Module) -> Vocabulary | None:
        """The table of word embeddings, which every family here keeps under one name; None without `masks`."""
        names = cast("TextBackbone", module).embedding_names
        return Vocabulary(f"{names[0]}word_embeddings.weight", self.masks) if self.masks else None
