"""Records that an operator adds: `$HEADSTOCK_HOME/licences/ID.toml`, a bought licence among them."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headstock.errors import Corrupt, HeadstockError
from headstock.licences.folder import State
from headstock.licences.terms import LicenceDoc

_MOST_BYTES = 1 << 20
_OURS = "LicenseRef-headstock-"


@dataclass(frozen=True)
class Added:
    """The records of one folder as they were at one moment."""

    folder: Path | None = None
    state: State = ()
    docs: Mapping[str, LicenceDoc] = field(default_factory=dict)


NONE = Added()


def read(folder: Path, state: State, taken: Collection[str]) -> Added:
    """Every record of the folder; raises `Corrupt` for one that is not valid, and for an id that is `taken`."""
    docs = {}
    for name, _, _ in state:
        doc = parse((folder / name).read_bytes(), name, taken)
        if name != f"{doc.id}.toml":
            raise Corrupt(f"the licence record in {name!r} says that it is {doc.id!r}", fix=f"call it {doc.id}.toml")
        docs[doc.id] = doc
    return Added(folder, state, docs)


def parse(data: bytes, name: str, taken: Collection[str]) -> LicenceDoc:
    """A record out of the bytes of file `name`; raises `Corrupt` as `read` does."""
    if len(data) > _MOST_BYTES:
        raise Corrupt(f"the licence record {name!r} has {len(data)} bytes; expected at most {_MOST_BYTES}")
    try:
        doc = LicenceDoc.from_mapping(tomllib.loads(data.decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, TypeError, AttributeError) as error:
        raise Corrupt(f"the licence record {name!r} is not TOML of a record: {error}") from error
    except HeadstockError as error:
        raise Corrupt(f"{name!r}: {error.message}", fix=error.fix) from error
    if doc.id in taken or doc.id.startswith(_OURS):
        raise Corrupt(
            f"the licence record {name!r} claims the id {doc.id!r}, which is Headstock's own",
            fix="give it an id of yours, such as LicenseRef-acme-1",
        )
    return doc
