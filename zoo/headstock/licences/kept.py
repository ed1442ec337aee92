"""Proofs that are kept for whoever asks about their ids later: files named by digest, changed by nobody unnoticed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headstock.digest import Digest, canonical_json, digest_json
from headstock.errors import Corrupt, HeadstockError, InvalidInput, NotFound
from headstock.licences.composition import Verdict
from headstock.settings import Settings

FOLDER = "proofs"
"""Name of the folder in HEADSTOCK_HOME."""

_SHORTEST = 8


def keep(settings: Settings, found: Verdict) -> Digest:
    """Keep the proof of a verdict; its id. A home that cannot be written keeps none: it can be made again."""
    folder = settings.home / FOLDER
    path = folder / f"{found.proof_id.removeprefix('sha256:')}.json"
    if not path.exists():
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(canonical_json(found.proof))
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
    return found.proof_id


def kept(settings: Settings, proof_id: str) -> Mapping[str, Any]:
    """The proof of an id, or of its first digits (at least 8).

    Raises `InvalidInput` for what is no id or fits several, `NotFound`, and `Corrupt` for a file that was changed.
    """
    digits = proof_id.removeprefix("sha256:")
    if len(digits) < _SHORTEST or not set(digits) <= set("0123456789abcdef"):
        raise InvalidInput(
            f"{proof_id!r} is no proof id; expected sha256: and at least {_SHORTEST} hex digits",
            fix="headstock licence why NAME prints one",
        )
    paths = sorted((settings.home / FOLDER).glob(f"{digits}*.json"))
    if not paths:
        raise NotFound(
            f"no proof {proof_id!r} is kept here; kept are those that 'licence why' printed and that refused something",
            fix="headstock licence why NAME makes it again",
        )
    if len(paths) > 1:
        raise InvalidInput(f"{len(paths)} proofs begin with {proof_id!r}", fix=f"sha256:{paths[0].stem}")
    return _read(paths[0])


def _read(path: Path) -> Mapping[str, Any]:
    try:
        proof = json.loads(path.read_bytes())
        if digest_json(proof) == f"sha256:{path.stem}":
            return dict(proof)
    except (ValueError, TypeError, HeadstockError):
        pass
    raise Corrupt(
        f"the kept proof sha256:{path.stem[:12]} was changed", fix="headstock licence why NAME makes it again"
    )
