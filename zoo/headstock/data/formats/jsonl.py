"""JSON lines: one object per line."""

from __future__ import annotations

import json
from typing import Any

from headstock.data.formats.reading import Fault, Rows, decode


def read(name: str, data: bytes) -> Rows:
    """One row per line."""
    rows: list[dict[str, Any]] = []
    places: list[int] = []
    faults: list[Fault] = []
    # Not splitlines(): JSON strings may hold U+2028, which is no line end of the file.
    for number, line in enumerate(decode(name, data).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            faults.append(Fault(number, f"not JSON: {error}"))
            continue
        if not isinstance(row, dict):
            what = f"a {type(row).__name__}"
            faults.append(Fault(number, f'{what}; expected an object such as {{"text": "...", "label": "..."}}'))
            continue
        rows.append(row)
        places.append(number)
    names = dict.fromkeys(key for row in rows for key in row)
    return Rows({key: [row.get(key) for row in rows] for key in names}, places, faults)
