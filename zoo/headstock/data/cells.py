"""Single cells: what counts as empty, as a label, as a number."""

from __future__ import annotations

import json
import math
from typing import Any


def text_of(value: Any) -> str:
    """The cell as text: nothing for None and NaN, tokens joined by spaces."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, list | tuple) and all(isinstance(token, str) for token in value):
        return " ".join(value)
    return value if isinstance(value, str) else str(value)


def is_empty(value: Any) -> bool:
    """True for None, NaN, spaces, and empty lists."""
    if isinstance(value, list | tuple | dict | bytes):
        return not value
    return not text_of(value).strip()


def label_of(value: Any) -> str:
    """The cell as the name of a class. A column of whole numbers with one gap reaches us as floats."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return text_of(value).strip()


def number_of(value: Any) -> float:
    """The cell as a number; NaN for what is none."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def lone_surrogate(text: str) -> bool:
    """True for text that JSON can spell and no encoding can store: half of a surrogate pair."""
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def json_value(value: Any) -> Any:
    """The cell as JSON holds it: dates and the like as text, NaN as nothing."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str | list | dict):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def json_text(values: dict[str, Any]) -> str:
    """A row as one line of JSON, the same for the same values."""
    clean = {key: json_value(value) for key, value in values.items()}
    return json.dumps(clean, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
