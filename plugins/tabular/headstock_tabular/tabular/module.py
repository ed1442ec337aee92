"""The tabular networks with named taps, filled strictly from a safetensors file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch

from headstock.checkpoint import load_strict, read_weights
from headstock.preprocess.table_options import UNSEEN_INDEX
from headstock.records import TensorSpec

Taps = dict[str, torch.Tensor]
DROPOUT = 0.1
"""Share of hidden values dropped in training; a backbone is used in eval mode."""


class Categories(torch.nn.Module):
    """One embedding table for all categorical columns; indices INT64 [n, m] to vectors [n, m, width]."""

    first: torch.Tensor
    counts: torch.Tensor

    def __init__(self, cardinalities: Sequence[int], width: int) -> None:
        super().__init__()
        starts = list(accumulate(cardinalities, initial=0))
        self.register_buffer("first", torch.tensor(starts[:-1]), persistent=False)
        self.register_buffer("counts", torch.tensor(list(cardinalities)), persistent=False)
        self.table = torch.nn.Embedding(starts[-1], width)
        torch.nn.init.uniform_(self.table.weight, -(width**-0.5), width**-0.5)

    def forward(self, indices: torch.Tensor) -> torch.Tensor:
        """Vectors of the indices; one that the column does not have is an unseen category."""
        # An index out of range would fail the whole batch, or on a GPU read what lies behind the table.
        known = (indices >= 0) & (indices < self.counts)
        vectors: torch.Tensor = self.table(torch.where(known, indices, UNSEEN_INDEX) + self.first)
        return vectors


class FeatureTokens(torch.nn.Module):
    """A token [d] per feature behind that of the summary: value times weight, or a vector of its own if missing."""

    def __init__(self, numeric: int, cardinalities: Sequence[int], width: int) -> None:
        super().__init__()
        self.summary = _uniform(1, width)
        if numeric:
            self.weight = _uniform(numeric, width)
            self.bias = _uniform(numeric, width)
            self.absent = _uniform(numeric, width)
        if cardinalities:
            self.category_bias = _uniform(len(cardinalities), width)
            self.categories = Categories(cardinalities, width)

    def forward(self, numeric: torch.Tensor | None, categorical: torch.Tensor | None) -> torch.Tensor:
        """Tokens [n, 1 + features, d]."""
        tokens = []
        if numeric is not None:
            value, missing = _filled(numeric)
            known = value.unsqueeze(-1) * self.weight
            tokens.append(torch.where(missing.unsqueeze(-1), self.absent, known) + self.bias)
        if categorical is not None:
            tokens.append(self.categories(categorical) + self.category_bias)
        summary = self.summary.expand(tokens[0].shape[0], 1, -1)
        return torch.cat([summary, *tokens], dim=1)


class Layer(torch.nn.Module):
    """A transformer layer that normalises before each half, with a gated linear unit (ReGLU)."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = torch.nn.LayerNorm(width)
        self.qkv = torch.nn.Linear(width, 3 * width)
        self.out = torch.nn.Linear(width, width)
        self.norm = torch.nn.LayerNorm(width)
        self.gate = torch.nn.Linear(width, 2 * inner)
        self.dropout = torch.nn.Dropout(DROPOUT)
        self.project = torch.nn.Linear(inner, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """[n, t, d] to the same."""
        tokens = tokens + self.out(self._attend(self.attention_norm(tokens)))
        value, gate = self.gate(self.norm(tokens)).chunk(2, dim=-1)
        result: torch.Tensor = tokens + self.project(self.dropout(value * torch.relu(gate)))
        return result

    def _attend(self, tokens: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(tokens).chunk(3, dim=-1)
        )
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        mixed: torch.Tensor = scores.softmax(dim=-1) @ value
        return mixed.transpose(1, 2).flatten(2)


class FtTransformer(torch.nn.Module):
    """FT-Transformer: features become tokens, a transformer mixes them, and the summary's token stands for the row."""

    def __init__(self, architecture: Mapping[str, Any]) -> None:
        super().__init__()
        width = architecture["width"]
        self.embeddings = FeatureTokens(architecture["numeric"], architecture["cardinalities"], width)
        self.layers = torch.nn.ModuleList(
            Layer(width, architecture["heads"], architecture["inner"]) for _ in range(architecture["layers"])
        )
        self.norm = torch.nn.LayerNorm(width)

    def forward(self, numeric: torch.Tensor | None, categorical: torch.Tensor | None) -> Taps:
        """`tokens` [n, 1 + features, d] and `pooled` [n, d]."""
        tokens = self.embeddings(numeric, categorical)
        for layer in self.layers:
            tokens = layer(tokens)
        tokens = self.norm(tokens)
        return {"tokens": tokens, "pooled": tokens[:, 0]}


class Mlp(torch.nn.Module):
    """Multilayer perceptron on values, flags of missing ones and embedded categories side by side."""

    def __init__(self, architecture: Mapping[str, Any]) -> None:
        super().__init__()
        width, cardinalities = architecture["width"], architecture["cardinalities"]
        inputs = 2 * architecture["numeric"] + len(cardinalities) * architecture["category_width"]
        if cardinalities:
            self.embeddings = Categories(cardinalities, architecture["category_width"])
        self.layers = torch.nn.ModuleList(
            torch.nn.Linear(width if i else inputs, width) for i in range(architecture["layers"])
        )
        self.dropout = torch.nn.Dropout(DROPOUT)

    def forward(self, numeric: torch.Tensor | None, categorical: torch.Tensor | None) -> Taps:
        """`pooled` [n, d]."""
        parts = []
        if numeric is not None:
            value, missing = _filled(numeric)
            parts += [value, missing.to(value.dtype)]
        if categorical is not None:
            parts.append(self.embeddings(categorical).flatten(1))
        features = torch.cat(parts, dim=1)
        for layer in self.layers:
            features = self.dropout(torch.relu(layer(features)))
        return {"pooled": features}


class TabularBackbone(torch.nn.Module):
    """A tabular network; `forward` of its subclasses takes the inputs that the table has and returns taps by name."""

    inputs: tuple[TensorSpec, ...]

    def __init__(self, architecture: Mapping[str, Any]) -> None:
        super().__init__()
        self.width: int = architecture["width"]
        self.layers: int = architecture["layers"]
        numeric, cardinalities = architecture["numeric"], architecture["cardinalities"]
        transformer = architecture["network"] == "ft-transformer"
        self.tokens = 1 + numeric + len(cardinalities) if transformer else 0
        self.network = FtTransformer(architecture) if transformer else Mlp(architecture)
        specs = (("numeric", "FP32", numeric), ("categorical", "INT64", len(cardinalities)))
        self.inputs = tuple(TensorSpec(name, type_, (-1, size)) for name, type_, size in specs if size)


class MixedBackbone(TabularBackbone):
    """A table with numbers and categories."""

    def forward(self, numeric: torch.Tensor, categorical: torch.Tensor) -> Taps:
        """Taps of FP32 [n, features], NaN where missing, and INT64 [n, columns]."""
        taps: Taps = self.network(numeric, categorical)
        return taps


class NumericBackbone(TabularBackbone):
    """A table of numbers."""

    def forward(self, numeric: torch.Tensor) -> Taps:
        """Taps of FP32 [n, features], NaN where missing."""
        taps: Taps = self.network(numeric, None)
        return taps


class CategoricalBackbone(TabularBackbone):
    """A table of categories."""

    def forward(self, categorical: torch.Tensor) -> Taps:
        """Taps of INT64 [n, columns]."""
        taps: Taps = self.network(None, categorical)
        return taps


def build_tabular(architecture: Mapping[str, Any]) -> TabularBackbone:
    """A network of this architecture, initialised from torch's current generator."""
    if not architecture["cardinalities"]:
        return NumericBackbone(architecture)
    return MixedBackbone(architecture) if architecture["numeric"] else CategoricalBackbone(architecture)


def load_tabular(weights: Path, architecture: Mapping[str, Any], what: str) -> TabularBackbone:
    """A network in eval mode; raises `InvalidInput` unless every weight fits."""
    # Fresh weights are drawn before they are overwritten; that may not move the caller's random generator.
    with torch.random.fork_rng(devices=[]):
        backbone = build_tabular(architecture)
    load_strict(backbone, read_weights(weights), rename=lambda name: name, what=repr(what))
    return backbone.eval()


def _filled(numeric: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers with 0, the mean, where they are NaN, and where that is."""
    missing = torch.isnan(numeric)
    return torch.where(missing, torch.zeros_like(numeric), numeric), missing


def _uniform(rows: int, width: int) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.empty(rows, width).uniform_(-(width**-0.5), width**-0.5))
