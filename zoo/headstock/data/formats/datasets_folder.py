"""A folder that the Hugging Face datasets library saved (`save_to_disk`), read without that library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from headstock.data.files import Folder
from headstock.data.formats.arrow import arrow_library, rows_of
from headstock.data.table import Table
from headstock.errors import InvalidInput

_STATE, _INFO, _PARTS = "state.json", "dataset_info.json", "dataset_dict.json"


def recognises(root: Path) -> bool:
    """True for a saved data set, or a saved dictionary of them."""
    return (root / _STATE).is_file() or (root / _PARTS).is_file()


def read(root: Path) -> Table:
    """All rows; class numbers become class names, and the parts of a dictionary a column `split`.

    Raises `InvalidInput` for files that are missing or damaged.
    """
    name = root.resolve().name
    library = arrow_library("a saved data set")
    several = (root / _PARTS).is_file()
    parts = [f"{part}/" for part in _listed(root, _PARTS, "splits")] if several else [""]
    files = [_PARTS] if several else []
    tables = []
    for part in parts:
        shards = [part + str(shard["filename"]) for shard in _listed(root, part + _STATE, "_data_files")]
        files += [part + _STATE, part + _INFO, *shards]
        table = library.concat_tables([_arrow(library, root, shard) for shard in shards])
        tables.append(_named(library, table, _json(root, part + _INFO).get("features") or {}))
    try:
        rows = rows_of(library.concat_tables(tables))
    except library.ArrowException as error:
        raise InvalidInput(f"the parts of {name!r} have different columns: {str(error)[:200]}") from error
    columns = dict(rows.columns)
    if several:
        columns["split"] = [p[:-1] for p, table in zip(parts, tables, strict=True) for _ in range(table.num_rows)]
    digest = (folder := Folder(root)).manifest(files)
    return Table(name, digest, columns, rows.places, "row", folder, split_column="split" if several else None)


def _json(root: Path, file: str) -> dict[str, Any]:
    try:
        value = json.loads((root / file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{file!r} of the saved data set cannot be read: {type(error).__name__}") from error
    if not isinstance(value, dict):
        raise InvalidInput(f"{file!r} of the saved data set is a {type(value).__name__}; expected an object")
    return value


def _listed(root: Path, file: str, key: str) -> list[Any]:
    found = _json(root, file).get(key)
    if not isinstance(found, list) or not found:
        raise InvalidInput(f"{file!r} of the saved data set has {key} = {str(found)[:60]}; expected a list of them")
    return found


def _arrow(library: Any, root: Path, file: str) -> Any:
    from pyarrow import ipc

    if fault := Folder(root).fault(file):
        raise InvalidInput(f"{file!r} of the saved data set {fault}")
    try:
        # Mapped, so that embedded images are read when their row is.
        with library.memory_map(str(root / file)) as source:
            return ipc.open_stream(source).read_all()
    except (library.ArrowException, OSError) as error:
        raise InvalidInput(f"{file!r} is not a readable Arrow file: {str(error)[:200]}") from error


def _named(library: Any, table: Any, features: dict[str, Any]) -> Any:
    """The table with class numbers replaced by the names that the data set's description gives them."""
    for index, column in enumerate(table.column_names):
        names, listed = _class_names(features.get(column))
        if names is None:
            continue
        cells = table.column(index).to_pylist()
        kind = library.list_(library.string()) if listed else library.string()
        spelt = [[_name(names, v) for v in cell or []] if listed else _name(names, cell) for cell in cells]
        table = table.set_column(index, column, library.array(spelt, kind))
    return table


def _class_names(feature: Any) -> tuple[list[str] | None, bool]:
    """Names of a feature's classes, None for one that has none; and whether its cells are lists."""
    listed = isinstance(feature, list) or (isinstance(feature, dict) and "feature" in feature)
    if listed:
        feature = feature[0] if isinstance(feature, list) and feature else feature["feature"] if feature else None
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return None, listed
    return feature["names"], listed


def _name(names: list[str], value: int | None) -> str | None:
    # -1 is how the library writes a row without a label.
    return None if value is None or value < 0 else names[value]
