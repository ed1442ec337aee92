"""Writes one line of JSON for each pass: why it was released, what was in it, how long its oldest request waited."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from headstock.errors import InvalidInput
from headstock_server.scheduler.statistics import PassRecord


class TraceFile:
    """Appends passes to a file; called by one runner at a time, under no lock that a caller waits for."""

    def __init__(self, path: Path) -> None:
        """Open the file for appending; raises `InvalidInput` where that is not possible."""
        # A line reaches the file when it is complete, so that it can be followed while the server runs.
        try:
            self._file = path.open("a", buffering=1, encoding="utf-8")
        except OSError as error:
            raise InvalidInput(
                f"the batch trace {path.name!r} cannot be written: {error.strerror}",
                fix="--batch-trace FILE in a folder that exists",
            ) from error

    def __call__(self, record: PassRecord) -> None:
        """Write one pass."""
        self._file.write(json.dumps(as_json(record), separators=(",", ":")) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def as_json(record: PassRecord) -> dict[str, Any]:
    """The pass as plain data; times in milliseconds, `at_ms` on the monotonic clock."""
    return {
        "at_ms": round(record.at_ns / 1e6, 3),
        "backbone": record.lane.backbone,
        "depth": record.lane.depth,
        "adapters": record.lane.adapters,
        "precision": record.lane.precision,
        "device": record.lane.device,
        "reason": record.reason.value if record.reason else None,
        "rows": sum(record.models.values()),
        "reused": record.reused,
        "models": {f"{name}:{number}": rows for (name, number), rows in record.models.items()},
        "tenants": dict(record.tenants),
        "longest": record.longest,
        "real_tokens": record.real_tokens,
        "padded_tokens": record.padded_tokens,
        "budget_tokens": record.budget_tokens,
        "waste": round(1 - record.real_tokens / record.padded_tokens, 4),
        "waited_ms": round(record.waited_ns / 1e6, 3),
        "ran_ms": round(record.ran_ns / 1e6, 3),
        "failed": record.failed,
    }
