"""Self-supervised pretraining of a table's backbone: columns are masked, and the rest of the row must tell them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from headstock.data import Table
from headstock.errors import AlreadyExists, InvalidInput
from headstock.preprocess.spec import PreprocessSpec
from headstock.preprocess.table import TablePreprocessor
from headstock.preprocess.table_options import ColumnType, TableOptions
from headstock_tabular.schema import infer_schema, records_of
from headstock_tabular.tabular.family import sizes_of
from headstock_tabular.tabular.module import TabularBackbone
from headstock_tabular.trainer import MaskedTrainer, PretrainOptions, PretrainReport, Tensors

MIN_ROWS = 20


def pretrain(
    table: Table,
    out: Path,
    options: PretrainOptions | None = None,
    *,
    told: Mapping[str, ColumnType] | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> PretrainReport:
    """Pretrain on all rows of `table` and write a checkpoint that `headstock pull path:OUT` takes.

    A masked column looks exactly like a missing one, so the network also learns what missing values mean where the
    table has none. `told` says what columns are; labels must be `ignored`. `progress` gets the epoch and the held-out
    loss. The same table, options and versions make the same weights. Raises `InvalidInput`, and `AlreadyExists` if
    `out` is a folder with files.
    """
    options = options or PretrainOptions()
    _check(table, out, options)
    schema = infer_schema(table, told)
    data = _tensors(schema.options, records_of(table))
    architecture = {
        "network": options.network,
        **sizes_of(options.network, options.sizes),
        "numeric": len(schema.options.features),
        "cardinalities": list(schema.options.cardinalities),
    }
    # The caller's numbers stay where they were.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        trainer = MaskedTrainer(architecture, schema.options, data, options)
        trainer.run(progress or _ignore)
        report = trainer.report(schema.notes)
    _write(out, trainer.backbone, architecture, schema.options, table, options, report)
    return report


def _check(table: Table, out: Path, options: PretrainOptions) -> None:
    if len(table) < MIN_ROWS:
        raise InvalidInput(f"{table.name!r} has {len(table)} rows; pretraining needs at least {MIN_ROWS}")
    if out.is_dir() and any(out.iterdir()):
        raise AlreadyExists(f"folder {out.name!r} holds files already", fix="--out with a new folder")
    for name, least, most in (("epochs", 1, 100_000), ("batch", 1, 1_000_000), ("mask", 0.0, 0.95), ("rate", 0.0, 1.0)):
        value = getattr(options, name)
        if not least <= value <= most:
            raise InvalidInput(f"option {name} is {value!r}; expected {least} to {most}")


def _tensors(schema: TableOptions, records: Sequence[Mapping[str, Any]]) -> Tensors:
    """All rows through the one preprocessing that serving uses."""
    reader = TablePreprocessor(PreprocessSpec("table", schema.to_json(), {}), {})
    return {name: torch.from_numpy(array) for name, array in reader.collate(reader.rows_from_records(records)).items()}


def _write(
    out: Path,
    backbone: TabularBackbone,
    architecture: Mapping[str, Any],
    schema: TableOptions,
    table: Table,
    options: PretrainOptions,
    report: PretrainReport,
) -> None:
    from safetensors.torch import save_file

    sizes = {key: value for key, value in architecture.items() if key not in ("numeric", "cardinalities")}
    config = {
        "model_type": "tabular",
        **sizes,
        "schema": schema.to_json(),
        "pretraining": {"file": table.name, "sha256": table.sha256, **asdict(options), **asdict(report)},
    }
    out.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in backbone.state_dict().items()}, out / "model.safetensors")
    text = json.dumps(config, indent=1, ensure_ascii=False, allow_nan=False)
    # Last: without it the folder is no checkpoint.
    (out / "config.json").write_text(text + "\n", encoding="utf-8")


def _ignore(epoch: int, loss: float) -> None:
    """The progress of a caller who does not watch."""


__all__ = ["MIN_ROWS", "PretrainOptions", "PretrainReport", "pretrain"]
