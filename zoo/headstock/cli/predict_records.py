"""What a model answered, as records for programs and as cells for people; whatever its head's task is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

# Outputs that are for programs with tensors in hand, not for a table or a line of JSON.
_TENSORS = ("logits", "lengths", "anomaly_map")
# BYTES outputs that hold JSON.
_JSON = ("labels", "entities")
_SHOWN = 60


def records_of(outputs: Mapping[str, Any], labels: Sequence[str]) -> list[dict[str, Any]]:
    """One record per row of a model's outputs: names to JSON values; `labels` name the columns of `probabilities`."""
    columns = {name: _column(name, values.tolist(), labels) for name, values in outputs.items() if name not in _TENSORS}
    records = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return [_with_score(record) for record in records]


def _column(name: str, values: list[Any], labels: Sequence[str]) -> list[Any]:
    if name == "probabilities":
        return [dict(zip(labels, row, strict=True)) for row in values]
    texts = [value.decode() if isinstance(value, bytes) else value for value in values]
    return [json.loads(text) for text in texts] if name in _JSON else texts


def _with_score(record: dict[str, Any]) -> dict[str, Any]:
    if "label" not in record:
        return record
    return {"label": record["label"], "score": record["probabilities"][record["label"]], **record}


def answer(record: Mapping[str, Any]) -> str:
    """The record's answer in one line for a person."""
    if "embedding" in record:
        vector = record["embedding"]
        return f"[{', '.join(f'{v:.3f}' for v in vector[:3])}, …] ({len(vector)} values)"
    if "entities" in record:
        return ", ".join(f"{e['label']} {e['text']!r}" for e in record["entities"]) or "(nothing)"
    if "answer" in record:
        return record["answer"] or "(no answer)"
    return bare(record)


def bare(record: Mapping[str, Any]) -> str:
    """The record's answer alone, for shells."""
    if "label" in record:
        return str(record["label"])
    if "labels" in record:
        return " ".join(record["labels"])
    if "value" in record:
        return f"{record['value']:.6g}"
    if "embedding" in record:
        return " ".join(f"{v:.6g}" for v in record["embedding"])
    if "entities" in record:
        return json.dumps(record["entities"], ensure_ascii=False)
    if "anomalous" in record:
        return "anomalous" if record["anomalous"] else "normal"
    return str(record["answer"] if "answer" in record else record["text"])


def score(record: Mapping[str, Any]) -> str:
    """How sure the model is, where it says so."""
    value = record.get("score", record.get("confidence"))
    return "" if value is None else f"{value:.3f}"


def shortened(text: str, *, path: bool = False) -> str:
    """At most as much as a table's column holds: the beginning of a text, the end of a path."""
    if len(text) <= _SHOWN:
        return text
    return "…" + text[1 - _SHOWN :] if path else text[: _SHOWN - 1] + "…"
