"""The acme-ngram family: which checkpoints it reads, and what they turn into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from headstock.checkpoint import check_config, load_strict, plain_value, read_weights, weights_file
from headstock.hookspecs import BackboneFamily, LayerGroup, SourceFiles
from headstock.records import PaddingRule, Tap, TensorSpec

if TYPE_CHECKING:
    import torch

    from headstock.preprocess import PreprocessSpec
    from headstock_acme.ngram.module import NgramEncoder

INPUTS = ("input_ids", "attention_mask")
DEFAULTS: Mapping[str, int | float | str] = {"buckets": 4096, "hidden_size": 48, "vocab_size": 64, "max_length": 256}


class NgramFamily(BackboneFamily):
    """Hashed character trigrams, averaged."""

    name: ClassVar[str] = "acme-ngram"
    modality: ClassVar[str] = "text"
    padding: ClassVar[PaddingRule] = "mask"

    def recognises(self, files: SourceFiles) -> bool:
        """True for `model_type` acme-ngram."""
        return files.config.get("model_type") == "acme-ngram"

    def load(self, files: SourceFiles) -> torch.nn.Module:
        """The encoder in eval mode, every weight loaded strictly."""
        import torch

        from headstock_acme.ngram.module import NgramEncoder

        with torch.random.fork_rng(devices=[]):
            encoder = NgramEncoder(self.architecture(files))
        weights = read_weights(weights_file(files.root, files.spec))
        load_strict(encoder, weights, rename=lambda name: name, what=repr(files.spec))
        return encoder.eval()

    def architecture(self, files: SourceFiles) -> Mapping[str, Any]:
        """Buckets, width and alphabet; how trigrams are hashed is the family's and never changes."""
        check_config(files.config)
        return {key: plain_value(files.config, key, default) for key, default in DEFAULTS.items()}

    def taps(self, module: torch.nn.Module) -> Sequence[Tap]:
        """`tokens` [n, len, d], one per character, and `mean` [n, d]."""
        width = cast("NgramEncoder", module).width
        return (Tap("tokens", (-1, -1, width)), Tap("mean", (-1, width)))

    def inputs(self, module: torch.nn.Module) -> Sequence[TensorSpec]:
        """Character ids and mask, INT64 [n, len]."""
        return tuple(TensorSpec(name, "INT64", (-1, -1)) for name in INPUTS)

    def preprocess(self, files: SourceFiles) -> PreprocessSpec:
        """One id per character, by a tokenizer.json: the server needs none of this code."""
        from headstock.digest import digest_file
        from headstock.preprocess import PreprocessSpec

        architecture = self.architecture(files)
        options = {
            "max_length": architecture["max_length"],
            "truncation": "right",
            "pad_id": 0,
            "pad_type_id": 0,
            "vocab_size": architecture["vocab_size"],
            "inputs": list(INPUTS),
        }
        return PreprocessSpec("text", options, {"tokenizer": digest_file(files.root / "tokenizer.json")})

    def files(self, files: SourceFiles) -> Mapping[str, Path]:
        """Weights, configuration and alphabet."""
        return {
            "weights": weights_file(files.root, files.spec),
            "config": files.root / "config.json",
            "tokenizer": files.root / "tokenizer.json",
        }

    def layer_groups(self, module: torch.nn.Module) -> Sequence[LayerGroup]:
        """`trigrams`, then `dense`."""
        return (LayerGroup("trigrams", ("trigrams.",)), LayerGroup("dense", ("dense.",)))
