"""Records beside Headstock's own: an operator adds a file, a pull takes over those that plugins ship as data."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from headstock.digest import digest_bytes
from headstock.errors import AlreadyExists, InvalidInput, NotFound
from headstock.licences import library
from headstock.licences.folder import FOLDER
from headstock.licences.operator_records import parse
from headstock.licences.terms import LicenceDoc

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue

ADD = "add-licence-record"
"""Action of the audit events that say when a record came in: servers judge anew at each of them."""


def add(catalogue: Catalogue, path: Path, reason: str) -> LicenceDoc:
    """Let the record in a TOML file count from now on; a newer one of the same id takes its place.

    Raises `NotFound` for no file, `Corrupt` for one that is no valid record or claims an id of Headstock's own, and
    `InvalidInput` for an empty reason.
    """
    if not reason.strip():
        raise InvalidInput("a record needs a reason; found an empty one", fix="--reason 'WHAT WAS BOUGHT, AND WHEN'")
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(
            f"there is no file {path.name!r}", fix="the path of a TOML file; docs/licences.md has an example"
        ) from error
    except OSError as error:
        raise InvalidInput(
            f"cannot read the licence record {path.name!r}: {error.strerror}",
            fix="the path of a TOML file; docs/licences.md has an example",
        ) from error
    return _keep(catalogue, data, path.name, reason.strip())


def adopt(catalogue: Catalogue, licences: Iterable[str], packages: Collection[str]) -> list[LicenceDoc]:
    """Take over the records of `licences` that nobody has yet from the folders `licences/` of plugins' packages.

    Plain data: no plugin is imported, and what came in stays when the plugin goes. What an operator has already is
    never replaced. Raises `AlreadyExists` if two plugins ship one id, and `Corrupt` for a bad record.
    """
    library.use(catalogue.settings.home / FOLDER)
    wanted = sorted({licence for licence in licences if library.find(licence) is None})
    adopted = []
    for licence in wanted:
        found = [(name, path) for name in sorted(packages) for path in _shipped(name, licence)]
        if len(found) > 1 and len({path.read_bytes() for _, path in found}) > 1:
            owners = " and ".join(name for name, _ in found)
            raise AlreadyExists(
                f"packages {owners} both ship a record of {licence!r}",
                fix="headstock licence add FILE, with the one that is right",
            )
        for name, path in found[:1]:
            adopted.append(_keep(catalogue, path.read_bytes(), path.name, f"shipped by package {name}"))
    return adopted


def _shipped(package: str, licence: str) -> list[Path]:
    spec = find_spec(package)
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()] if spec else []
    # An id is a plain word: with a separator in it, it would lead out of the folder.
    paths = [folder / FOLDER / f"{licence}.toml" for folder in folders if Path(licence).name == licence]
    return [path for path in paths[:1] if path.is_file()]


def _keep(catalogue: Catalogue, data: bytes, name: str, reason: str) -> LicenceDoc:
    doc = parse(data, name, library.own_ids())
    folder = catalogue.settings.home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{doc.id}.{os.getpid()}.tmp"
    temporary.write_bytes(data)
    temporary.replace(folder / f"{doc.id}.toml")
    library.use(folder)
    detail = {"record": doc.digest, "file": digest_bytes(data), "reason": reason}
    catalogue.record(ADD, doc.id, detail)
    return doc
