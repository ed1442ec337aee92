"""Signatures of versions: exported, kept beside the catalogue, checked against the store, and asked for at load."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from headstock.digest import Digest, digest_file, digest_json
from headstock.errors import AlreadyExists, Corrupt, HeadstockError, NotFound
from headstock.signing import contents
from headstock.signing.folder import SIGNATURE, check_key, sign_folder, verify_folder

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.records import Version

SIGN = "sign"
"""Action of a signature's event in the audit log."""


def sign_version(catalogue: Catalogue, version: Version, key: Path, out: Path) -> list[str]:
    """Export a version to a new folder, sign it, and keep documents and signature; the paths that were signed.

    Every blob is hashed on its way out, so a corrupt store is never signed. Raises `AlreadyExists` for a folder that is
    not empty, and as `sign_folder` does; then nothing is left of the export.
    """
    check_key(key, private=True)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise AlreadyExists(f"{out.name!r} exists and is not an empty folder", fix="--out NEW_FOLDER")
    texts = contents.documents(catalogue, version)
    try:
        for path, blob in contents.blobs(catalogue, version).items():
            _export(catalogue, blob, out / path)
        for path, data in texts.items():
            (out / path).write_bytes(data)
        signature = sign_folder(out, key)
    except BaseException:
        # Half an export would stand in the way of the next one.
        shutil.rmtree(out, ignore_errors=True)
        raise
    _keep(catalogue, version, [*(out / path for path in texts), signature])
    catalogue.record(SIGN, version.subject, {"version": str(version), "signature": digest_file(signature)})
    return sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file() and p != signature)


def verify_version(catalogue: Catalogue, version: Version, key: Path) -> None:
    """Raise `Corrupt` unless what the store and the kept documents hold is what the owner of the key signed.

    Raises `NotFound` for a version that was not signed here. Reads every byte.
    """
    with _assembled(catalogue, version) as folder:
        verify_folder(folder, key)


def check_record(folder: Path, version: Version) -> None:
    """Raise `Corrupt` if a verified folder is of another version."""
    found = json.loads((folder / contents.VERSION).read_bytes())
    if found.get("subject") != version.subject:
        raise Corrupt(f"the folder {folder.name!r} is of {found.get('name')}:{found.get('version')}, not of {version}")


def is_signed(catalogue: Catalogue, version: Version) -> bool:
    """True if a signature of the version is kept here, by whatever key and whether it holds or not."""
    return (_kept(catalogue, version) / SIGNATURE).is_file()


def trouble(catalogue: Catalogue, version: Version, keys: Sequence[str]) -> str:
    """Why a version has no valid signature by any of the keys; empty if it has one.

    `keys` are public keys in PEM, relative to HEADSTOCK_HOME. A good answer is remembered under the digest of all that
    it depends on: key, documents, signature, and the digests of the blobs, which loading compares with their bytes.
    """
    if not keys:
        return "the policy asks for a signature and names no public key"
    why = ""
    for name in keys:
        try:
            _verify_once(catalogue, version, catalogue.settings.home / name)
            return ""
        except HeadstockError as error:
            why = error.message
    return why


def _verify_once(catalogue: Catalogue, version: Version, key: Path) -> None:
    folder = _kept(catalogue, version)
    if not is_signed(catalogue, version):
        raise _unsigned(version)
    if not key.is_file():
        raise NotFound(f"the policy's public key {key.name!r} does not exist")
    names = sorted(p.name for p in folder.iterdir())
    facts = {
        "key": digest_file(key),
        "kept": {name: digest_file(folder / name) for name in names},
        "blobs": contents.blobs(catalogue, version),
        "subject": version.subject,
    }
    mark = catalogue.settings.cache / "signatures" / digest_json(facts).removeprefix("sha256:")
    if mark.is_file():
        return
    verify_version(catalogue, version, key)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()


def _unsigned(version: Version) -> NotFound:
    return NotFound(f"{version} is not signed", fix=f"headstock sign {version} --key KEY.pem --out FOLDER")


def _kept(catalogue: Catalogue, version: Version) -> Path:
    return catalogue.settings.home / "signatures" / f"{version.name}-{version.number}"


def _keep(catalogue: Catalogue, version: Version, files: Sequence[Path]) -> None:
    folder = _kept(catalogue, version)
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        # The signature comes last and whole: a half-written set must not look like a signed one.
        temporary = folder / f".{file.name}.{os.getpid()}"
        shutil.copyfile(file, temporary)
        os.replace(temporary, folder / file.name)


def _export(catalogue: Catalogue, blob: Digest, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(catalogue.store.path(blob), target)
    found = digest_file(target)
    if found != blob:
        raise Corrupt(f"blob {blob} holds other bytes ({found})", fix="headstock verify --repair")


@contextmanager
def _assembled(catalogue: Catalogue, version: Version) -> Iterator[Path]:
    """The signed folder as the store and the kept documents would make it now; gone when the block ends."""
    kept = _kept(catalogue, version)
    if not (kept / SIGNATURE).is_file():
        raise _unsigned(version)
    catalogue.settings.cache.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=catalogue.settings.cache, prefix="verify-") as name:
        folder = Path(name)
        for file in kept.iterdir():
            shutil.copyfile(file, folder / file.name)
        for path, blob in contents.blobs(catalogue, version).items():
            _link(catalogue.store.path(blob), folder / path)
        yield folder


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError as error:
        raise Corrupt(f"the blob of {target.parent.name}/{target.name} is missing", fix="headstock verify") from error
    except OSError:
        # Another file system, or one without hard links.
        shutil.copyfile(source, target)
