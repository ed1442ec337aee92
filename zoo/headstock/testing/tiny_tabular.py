"""Tiny table checkpoints with random weights, as `headstock pretrain` writes them, and rows that fit them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SCHEMA: Mapping[str, Any] = {
    "columns": [
        {"name": "age", "type": "numeric", "mean": 40.0, "scale": 15.0},
        {"name": "income", "type": "numeric", "mean": 30_000.0, "scale": 9_000.0},
        {"name": "city", "type": "categorical", "categories": ["Bonn", "Köln", "Ulm"]},
        {"name": "active", "type": "categorical", "categories": ["false", "true"]},
        {
            "name": "joined",
            "type": "date",
            "mean": 18_000.0,
            "scale": 900.0,
            "format": "iso",
            "cycles": ["year", "week"],
        },
        {"name": "label", "type": "ignored"},
    ],
    "clip": 10.0,
    "missing": ["", "NA"],
}
"""A schema with a column of every type."""

ROWS: Sequence[Mapping[str, Any]] = (
    {"age": 41, "income": 31_250.5, "city": "Köln", "active": True, "joined": "2019-05-04"},
    {"age": 23, "income": None, "city": "Ulm", "active": False, "joined": "2021-11-30"},
    {"age": 67, "income": 18_000, "city": "Rom", "active": True, "joined": None},
)
"""Rows of that table: the second lacks a number, the third a date and has an unseen city."""


def make_tiny_tabular(
    directory: Path, *, network: str = "ft-transformer", seed: int = 0, types: Sequence[str] = ()
) -> Path:
    """A network of two layers on the table of `SCHEMA`; returns `directory`.

    `network` is `ft-transformer` or `mlp`; `types` keeps columns of these types alone.
    """
    import numpy as np
    from safetensors.numpy import save_file

    from headstock.preprocess.table_options import TableOptions

    columns = [c for c in SCHEMA["columns"] if not types or c["type"] in types]
    schema = {**SCHEMA, "columns": columns}
    options = TableOptions.parse(schema)
    sizes: dict[str, int] = {"width": 16, "layers": 2}
    sizes |= {"heads": 4, "inner": 24} if network == "ft-transformer" else {"category_width": 4}
    count, cardinalities = len(options.features), options.cardinalities
    shapes = (_transformer if network == "ft-transformer" else _mlp)(sizes, count, cardinalities)
    random = np.random.default_rng([19, seed])
    tensors = {
        name: (random.standard_normal(shape) * (1.0 if len(shape) == 1 else shape[-1] ** -0.5)).astype(np.float32)
        for name, shape in shapes.items()
    }
    directory.mkdir(parents=True, exist_ok=True)
    save_file(tensors, directory / "model.safetensors")
    config = {"model_type": "tabular", "network": network, **sizes, "schema": schema}
    (directory / "config.json").write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8")
    return directory


Shapes = dict[str, tuple[int, ...]]


def _transformer(sizes: Mapping[str, int], count: int, cardinalities: Sequence[int]) -> Shapes:
    width, inner = sizes["width"], sizes["inner"]
    shapes: Shapes = {"embeddings.summary": (1, width)}
    if count:
        shapes |= {f"embeddings.{name}": (count, width) for name in ("weight", "bias", "absent")}
    if cardinalities:
        shapes |= {"embeddings.category_bias": (len(cardinalities), width)}
        shapes |= {"embeddings.categories.table.weight": (sum(cardinalities), width)}
    linears = {"qkv": (width, 3 * width), "out": (width, width), "gate": (width, 2 * inner), "project": (inner, width)}
    for i in range(sizes["layers"]):
        for name, (in_, out) in linears.items():
            shapes |= {f"layers.{i}.{name}.weight": (out, in_), f"layers.{i}.{name}.bias": (out,)}
        for name in ("attention_norm", "norm"):
            shapes |= {f"layers.{i}.{name}.weight": (width,), f"layers.{i}.{name}.bias": (width,)}
    shapes |= {"norm.weight": (width,), "norm.bias": (width,)}
    return {f"network.{name}": shape for name, shape in shapes.items()}


def _mlp(sizes: Mapping[str, int], count: int, cardinalities: Sequence[int]) -> Shapes:
    width, category_width = sizes["width"], sizes["category_width"]
    shapes: Shapes = {}
    if cardinalities:
        shapes["embeddings.table.weight"] = (sum(cardinalities), category_width)
    inputs = 2 * count + len(cardinalities) * category_width
    for i in range(sizes["layers"]):
        shapes |= {f"layers.{i}.weight": (width, width if i else inputs), f"layers.{i}.bias": (width,)}
    return {f"network.{name}": shape for name, shape in shapes.items()}
