"""`path:DIR`: a checkpoint folder on this machine."""

from __future__ import annotations

from pathlib import Path

from headstock.errors import InvalidInput, NotFound
from headstock.hookspecs import SourceFiles
from headstock.sources.evidence import folder_statements
from headstock.sources.fetched import Fetched, check_complete, copy_allowed, documents_under, names_under, read_config
from headstock.sources.onnx_metadata import onnx_statements


def fetch_directory(source: str, rest: str, workdir: Path) -> Fetched:
    """Copy the folder's checkpoint files. Raises `NotFound` or `InvalidInput`."""
    if not rest:
        raise InvalidInput(f"source {source!r} names no folder", fix="path:DIR, for example path:./my-checkpoint")
    folder = Path(rest).expanduser()
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise NotFound(
            f"folder {rest!r} {what}; expected a folder with config.json and *.safetensors",
            fix="path:DIR, for example path:./my-checkpoint",
        )
    # The base name alone: where it lay on this machine is nobody's business and means nothing elsewhere.
    label = f"path:{folder.resolve().name or 'root'}"
    check_complete(names_under(folder), label)
    digests = copy_allowed(folder, workdir)
    config = read_config(workdir, label)
    return Fetched(
        files=SourceFiles(workdir, config, label),
        label=label,
        commit="",
        digests=digests,
        statements=(*folder_statements(workdir, config, label), *onnx_statements(folder, label)),
        documents=documents_under(workdir),
    )
