"""A folder of images or recordings: one subfolder per class, with or without `train` and `validation` above them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from headstock.data.files import MEDIA, Folder
from headstock.data.sides import side_of
from headstock.data.table import Table
from headstock.errors import InvalidInput

_TABLES = (".csv", ".tsv", ".jsonl", ".parquet")

Paths = Sequence[PurePosixPath]


def read(root: Path) -> Table:
    """One row per file, in the order of paths: `image` or `audio` (the path), `label` (the file's folder), and `split`
    where the uppermost folders are all parts such as `train` and `test`.

    Hidden files are passed over; other files that are neither are counted in `notes`. Raises `InvalidInput` for a
    folder without such files, with both kinds, or with files outside all class folders.
    """
    name = root.resolve().name
    everything = _files(root)
    kind, paths = _media(name, everything)
    parted = all(len(path.parts) > 1 and side_of(path.parts[0]) is not None for path in paths)
    labels = [path.parts[1:-1] if parted else path.parts[:-1] for path in paths]
    _require_classes(name, paths, labels)
    places = [str(path) for path in paths]
    columns = {kind: places, "label": ["/".join(label) for label in labels]}
    if parted:
        columns["split"] = [path.parts[0] for path in paths]
    folder = Folder(root)
    return Table(
        name,
        folder.manifest(places),
        columns,
        places,
        "file",
        folder,
        complete=True,
        split_column="split" if parted else None,
        notes=_notes(everything, kind),
    )


def _files(root: Path) -> Paths:
    # Sorted by path, so that the order of rows does not depend on the file system.
    found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return sorted(PurePosixPath(p.as_posix()) for p in found if not any(part.startswith(".") for part in p.parts))


def _media(name: str, everything: Paths) -> tuple[str, Paths]:
    """What kind of files the folder holds, and those files."""
    media = {kind: [p for p in everything if p.suffix.lower() in suffixes] for kind, suffixes in MEDIA.items()}
    present = {kind: paths for kind, paths in media.items() if paths}
    if len(present) > 1:
        raise InvalidInput(
            f"{name!r} holds {' and '.join(f'{len(paths)} {kind} files' for kind, paths in present.items())}; "
            "a backbone reads one kind",
            fix="give a folder of one kind, or a table with a path column",
        )
    if present:
        return next(iter(present.items()))
    known = ", ".join(suffix for suffixes in MEDIA.values() for suffix in suffixes)
    table = next((p for p in everything if p.suffix.lower() in _TABLES), None)
    raise InvalidInput(
        f"the folder {name!r} has no images or recordings ({known}) among its {len(everything)} files",
        fix=f"--data {name}/{table}" if table else "one subfolder per class, with the files in it",
    )


def _require_classes(name: str, paths: Paths, labels: Sequence[tuple[str, ...]]) -> None:
    loose = [path for path, label in zip(paths, labels, strict=True) if not label]
    if loose:
        raise InvalidInput(
            f"{len(loose)} files of {name!r} stand in no class folder, e.g. {str(loose[0])!r}",
            fix="move each file into a folder named after its class, or list the files in a table with a path column",
        )


def _notes(everything: Paths, kind: str) -> tuple[str, ...]:
    others = Counter(p.suffix.lower() or p.name for p in everything if p.suffix.lower() not in MEDIA[kind])
    if not others:
        return ()
    listed = ", ".join(f"{count} x {suffix}" for suffix, count in sorted(others.items()))
    return (f"passed over {others.total()} files that are no {kind}: {listed}",)
