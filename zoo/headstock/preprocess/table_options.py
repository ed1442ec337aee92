"""Options of the `table` preprocessing: the schema of a table, and how each column's values become numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from headstock.errors import InvalidInput

ColumnType = Literal["numeric", "categorical", "date", "ignored"]
TYPES: tuple[ColumnType, ...] = ("numeric", "categorical", "date", "ignored")
CYCLES = {"year": 365.2425, "week": 7.0, "day": 1.0}
"""Names of the cycles that a date can be placed in, with their lengths in days."""
ISO = "iso"
"""The date format that stands for ISO 8601."""
MISSING_INDEX = 0
"""Index of a category that is missing."""
UNSEEN_INDEX = 1
"""Index of a category that the schema does not list; those that it lists follow."""
MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?", "-")
"""Texts that mean a missing number or date by default. A missing category is an empty text: "NA" is Namibia."""
CLIP = 10.0
"""Standard deviations at which numbers are cut off by default, so that no outlier drowns a row."""
MAX_COLUMNS = 4096
MAX_CATEGORIES = 100_000
"""Most categories of one column."""

# Directives whose meaning depends on no locale.
_FORMAT = re.compile(r"(?:%[YmdHMSyjf]|[^%])+")
_DAY_SECONDS = 86_400.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a schema."""

    name: str
    type: ColumnType
    mean: float = 0.0
    """Of numbers; of dates in days since 1970 (UTC). What a missing value is taken for."""
    scale: float = 1.0
    """Standard deviation, in the unit of `mean`; above 0."""
    categories: tuple[str, ...] = ()
    format: str = ISO
    """How dates are written: `iso`, or a pattern of `strptime` without names of days or months."""
    cycles: tuple[str, ...] = ()
    """Cycles that a date is placed in besides its position in time."""

    @classmethod
    def parse(cls, value: Any) -> Column:
        """A column out of a spec. Raises `InvalidInput`."""
        type_ = value.get("type") if isinstance(value, Mapping) else None
        keys = _KEYS.get(str(type_))
        if not isinstance(value, Mapping) or keys is None or sorted(value) != sorted(keys):
            raise _wrong("column", value, f"a type out of {list(TYPES)} with the keys of its type, such as {_KEYS}")
        if not isinstance(value["name"], str) or not value["name"]:
            raise _wrong("name", value["name"], "a text that is not empty")
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, (list, tuple)) else v for k, v in value.items()}
        column = cls(**fields)
        column._check()
        # 0 and 0.0 are one mean, and so one digest.
        return replace(column, mean=float(column.mean), scale=float(column.scale))

    def to_json(self) -> dict[str, Any]:
        """The column in a spec: the keys of its type, JSON values only."""
        values = {key: getattr(self, key) for key in _KEYS[self.type]}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    @property
    def features(self) -> tuple[str, ...]:
        """Names of what the column gives to the `numeric` tensor."""
        if self.type == "numeric":
            return (self.name,)
        if self.type == "date":
            waves = (f"{self.name}:{cycle}.{wave}" for cycle in self.cycles for wave in ("sin", "cos"))
            return (self.name, *waves)
        return ()

    def days(self, text: str) -> float:
        """Days since 1970 (UTC) of a written date; without a time zone it is UTC. Raises `ValueError`."""
        moment = datetime.fromisoformat(text) if self.format == ISO else datetime.strptime(text, self.format)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        return (moment - _EPOCH).total_seconds() / _DAY_SECONDS

    def waves(self, days: float) -> list[float]:
        """Sine and cosine of the date's place in each cycle."""
        angles = [2 * math.pi * days / CYCLES[cycle] for cycle in self.cycles]
        return [wave(angle) for angle in angles for wave in (math.sin, math.cos)]

    def _check(self) -> None:
        for key in ("mean", "scale"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise _wrong(f"{key} of {self.name!r}", value, "a finite number")
        if self.scale <= 0:
            raise _wrong(f"scale of {self.name!r}", self.scale, "a number above 0")
        categories = self.categories
        if not isinstance(categories, tuple) or not all(isinstance(c, str) and c for c in categories):
            raise _wrong(f"categories of {self.name!r}", categories, "a list of texts that are not empty")
        if len(set(categories)) != len(categories) or len(categories) > MAX_CATEGORIES:
            raise _wrong(f"categories of {self.name!r}", len(categories), f"at most {MAX_CATEGORIES}, each once")
        if not isinstance(self.format, str) or not _FORMAT.fullmatch(self.format):
            raise _wrong(f"format of {self.name!r}", self.format, "'iso' or a pattern such as '%d.%m.%Y'")
        if not isinstance(self.cycles, tuple) or not set(self.cycles) <= set(CYCLES):
            raise _wrong(f"cycles of {self.name!r}", self.cycles, f"some of {list(CYCLES)}")


_KEYS: Mapping[str, tuple[str, ...]] = {
    "numeric": ("name", "type", "mean", "scale"),
    "categorical": ("name", "type", "categories"),
    "date": ("name", "type", "mean", "scale", "format", "cycles"),
    "ignored": ("name", "type"),
}


@dataclass(frozen=True, slots=True)
class TableOptions:
    """Checked options: the columns in order, and what holds for all of them."""

    columns: tuple[Column, ...]
    clip: float = CLIP
    """Largest absolute value of a standardised number."""
    missing: tuple[str, ...] = MISSING
    """Texts that mean a missing number or date."""

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> TableOptions:
        """Options out of a spec. Raises `InvalidInput` that names the option."""
        if sorted(options) != ["clip", "columns", "missing"]:
            raise InvalidInput(
                f"table preprocessing options are {sorted(options)}; expected ['clip', 'columns', 'missing']"
            )
        clip, columns, missing = options["clip"], options["columns"], options["missing"]
        if isinstance(clip, bool) or not isinstance(clip, (int, float)) or not 1 <= clip <= 1e6:
            raise _wrong("clip", clip, "a number from 1 to 1000000")
        if not _is_list(missing) or not all(isinstance(text, str) for text in missing):
            raise _wrong("missing", missing, "a list of texts")
        if not _is_list(columns) or not 1 <= len(columns) <= MAX_COLUMNS:
            raise _wrong("columns", type(columns).__name__, f"a list of 1 to {MAX_COLUMNS} columns")
        parsed = tuple(Column.parse(column) for column in columns)
        names = [column.name for column in parsed]
        if doubled := [name for name in names if names.count(name) > 1]:
            raise InvalidInput(f"two columns are called {doubled[0]!r}")
        if all(column.type == "ignored" for column in parsed):
            raise InvalidInput(f"all columns are ignored ({names[:5]}); expected at least one that is read")
        return cls(parsed, float(clip), tuple(missing))

    def to_json(self) -> dict[str, Any]:
        """The options of a spec: JSON values only, all of them."""
        columns = [column.to_json() for column in self.columns]
        return {"columns": columns, "clip": self.clip, "missing": list(self.missing)}

    @property
    def features(self) -> tuple[str, ...]:
        """Names along the second axis of `numeric`."""
        return tuple(feature for column in self.columns for feature in column.features)

    @property
    def categorical(self) -> tuple[Column, ...]:
        """Columns along the second axis of `categorical`."""
        return tuple(column for column in self.columns if column.type == "categorical")

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Indices that each categorical column can have: missing, unseen, and one per category."""
        return tuple(len(column.categories) + 2 for column in self.categorical)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _wrong(name: str, value: Any, expected: str) -> InvalidInput:
    return InvalidInput(f"table preprocessing: {name} is {value!r:.80}; expected {expected}")
