"""The report of a run: what was trained on what, how well, against which baseline, at what cost."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstock.data.roles import input_roles
from headstock.hookspecs import Metric, Targets
from headstock.metrics import wilson

if TYPE_CHECKING:
    from headstock.finetune.prepare import Prepared
    from headstock.finetune.training import Trained

_PACKAGES = ("headstock", "torch", "numpy", "onnxruntime", "tokenizers", "safetensors", "transformers")


def build_report(
    prepared: Prepared,
    trained: Trained,
    metrics: Sequence[Metric],
    *,
    confusion: Mapping[str, Any] | None,
    majority: Mapping[str, Any] | None,
    parity: float,
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """The report as JSON values. The metrics are those of the validation rows, which also chose the best epoch."""
    recipe, split, table = prepared.recipe, prepared.split, prepared.table
    features, state = trained.features, trained.state
    return {
        "format": 1,
        "recipe": recipe.digest,
        "head_type": recipe.head.type,
        "task": prepared.head_type.task,
        "input": input_roles(prepared.head_type)[0],
        "backbone": {"name": recipe.backbone.name, "digest": recipe.backbone.digest, "tap": recipe.head.tap},
        "strategy": recipe.strategy.name,
        "seed": recipe.seed,
        "labels": list(prepared.targets.labels),
        "truth": prepared.lesson.truth if prepared.lesson else "labels",
        "data": {
            "name": table.name,
            "sha256": recipe.data.sha256,
            "columns": dict(recipe.data.columns),
            "rows": len(table) - prepared.replayed,
            "replayed": prepared.replayed,
            "train": len(split.train),
            "validation": len(split.validation),
            "duplicates": split.duplicates,
            "moved": split.moved,
            "unused": split.unused,
            "truncated": features.truncated,
        },
        "metrics": [asdict(metric) for metric in metrics],
        "primary_metric": prepared.head_type.primary_metric,
        "majority": majority,
        "confusion": confusion,
        "epochs": {"run": len(state.history), "most": recipe.strategy.epochs, "best": state.best_epoch},
        "resumed_after": trained.resumed,
        "history": state.history,
        "features": {
            "computed": features.computed,
            "cached": features.cached,
            "cache": recipe.features.cache,
        },
        "parity": parity,
        "seconds": {key: round(value, 3) for key, value in seconds.items()},
        "environment": environment(),
    }


def majority_baseline(train: Sequence[str], validation: Sequence[str]) -> dict[str, Any]:
    """What always answering the commonest training class scores on the validation rows."""
    # Ties go to the first name, so that equal data gives an equal report.
    label, count = min(Counter(train).items(), key=lambda item: (-item[1], item[0]))
    score = wilson("accuracy", sum(value == label for value in validation), len(validation))
    return {
        "label": label,
        "share_of_training": count / len(train),
        "accuracy": score.value,
        **_interval(score),
    }


def _interval(metric: Metric) -> dict[str, Any]:
    return {"low": metric.low, "high": metric.high, "method": metric.method}


def confusion(outputs: npt.NDArray[np.float32], targets: Targets) -> dict[str, Any]:
    """Counts of validation rows: `matrix[true][answered]`, both in the order of `labels`."""
    size = len(targets.labels)
    flat = targets.values.astype(np.int64) * size + outputs.argmax(axis=-1)
    matrix = np.bincount(flat, minlength=size * size).reshape(size, size)
    return {"labels": list(targets.labels), "matrix": matrix.tolist()}


def summary(report: Mapping[str, Any]) -> dict[str, Any]:
    """The part that the catalogue keeps with the version and `show` prints."""
    return {
        "head_type": report["head_type"],
        "backbone": report["backbone"]["name"],
        "tap": report["backbone"]["tap"],
        "strategy": report["strategy"],
        "seed": report["seed"],
        "data": report["data"]["name"],
        "data_digest": report["data"]["sha256"],
        "rows_train": report["data"]["train"],
        "rows_validation": report["data"]["validation"],
        "labels": report["labels"],
        "metrics": report["metrics"],
        "majority": report["majority"],
        "transfer": _verdict(report.get("transfer")),
        "epochs": report["epochs"]["run"],
        "best_epoch": report["epochs"]["best"],
        "seconds": report["seconds"]["total"],
        "recipe": report["recipe"],
        **({"continued_from": report["continued"]["parent"]} if "continued" in report else {}),
        **({"truth": report["truth"]} if report["truth"] != "labels" else {}),
        **({"distilled_from": report["distillation"]["teacher"]} if "distillation" in report else {}),
        **({"forgetting": report["forgetting"]} if report.get("forgetting") else {}),
    }


def _verdict(transfer: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if transfer is None:
        return None
    rounded = {key: round(transfer[key], 4) for key in ("gain", "low", "high")}
    about = {"figure": transfer["figure"], "against": transfer["against"], "splits": transfer["interval"]["splits"]}
    return {"verdict": transfer["verdict"], **rounded, **about}


def environment() -> dict[str, str]:
    """Versions that can change a result."""
    versions = {"python": platform.python_version(), "machine": platform.machine()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions
