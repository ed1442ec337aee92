"""`hf:ORG/NAME[@REVISION]`: a checkpoint on a Hugging Face hub (`HF_ENDPOINT`), every file hashed by ourselves."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstock.digest import Digest, digest_file
from headstock.errors import Corrupt, FailedPrecondition, HeadstockError, InvalidInput, NotFound, Unavailable
from headstock.hookspecs import SourceFiles
from headstock.sources.evidence import folder_statements, licence_statement
from headstock.sources.fetched import (
    Fetched,
    Statement,
    check_complete,
    documents_under,
    is_allowed,
    is_words,
    read_config,
)

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

_SOURCE = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?")


def fetch_hub(source: str, rest: str, workdir: Path) -> Fetched:
    """Resolve the revision to a commit and bring its allowed files, each compared with what the hub states.

    The hub client keeps its own cache; `workdir` holds links into it. huggingface_hub accepts a changed body of the
    right size, so every file is hashed here, cached or not, and a bad one is deleted from the cache.
    """
    match = _SOURCE.fullmatch(rest)
    if match is None:
        raise InvalidInput(f"source {source!r} is not understood; expected hf:ORG/NAME or hf:ORG/NAME@REVISION")
    name, revision = match["name"], match["revision"]
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with _hub_errors(name, revision):
        info = _model_info(name, revision)
    commit = str(info.sha)
    label = f"hf:{info.id}@{commit}"
    siblings = {s.rfilename: s for s in info.siblings or ()}
    check_complete(siblings, label)
    digests = {}
    for file_name in sorted(filter(is_allowed, siblings)):
        with _hub_errors(name, revision):
            digests[file_name] = _download(info.id, commit, siblings[file_name], workdir)
    config = read_config(workdir, label)
    statements = [_tag_statement(info, label), *folder_statements(workdir, config, label, itself=info.id)]
    return Fetched(
        files=SourceFiles(workdir, config, source),
        label=label,
        commit=commit,
        digests=digests,
        statements=tuple(statements),
        documents=documents_under(workdir),
    )


def fetch_words(name: str, workdir: Path) -> tuple[str, str, Statement]:
    """Label, commit and licence tag of a repository's default branch today; its card and texts come to `workdir`."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with _hub_errors(name, None):
        info = _model_info(name, None)
        for sibling in info.siblings or ():
            if is_words(sibling.rfilename):
                _download(info.id, str(info.sha), sibling, workdir)
    label = f"hf:{info.id}@{info.sha}"
    return label, str(info.sha), _tag_statement(info, label)


def _endpoint() -> str | None:
    # Passed on every call: the hub client itself reads HF_ENDPOINT only once, when it is first imported.
    return os.environ.get("HF_ENDPOINT") or None


def _model_info(name: str, revision: str | None) -> ModelInfo:
    from huggingface_hub import HfApi

    return HfApi(endpoint=_endpoint()).model_info(name, revision=revision, files_metadata=True, timeout=30)


def _download(name: str, commit: str, stated: RepoSibling, workdir: Path) -> Digest:
    from huggingface_hub import hf_hub_download

    cached = Path(hf_hub_download(name, stated.rfilename, revision=commit, endpoint=_endpoint()))
    digest = digest_file(cached)
    problem = _mismatch(cached, digest, stated)
    if problem:
        # Both the link in the snapshot and the blob it points to: the next pull must download again.
        blob = cached.resolve()
        cached.unlink()
        blob.unlink(missing_ok=True)
        raise Corrupt(
            f"file {stated.rfilename!r} of {name!r} is not what the hub states: {problem}",
            fix="run the pull again; if it repeats, the hub or a proxy in between serves changed bytes",
        )
    target = workdir / stated.rfilename
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(cached.resolve())
    return digest


def _mismatch(path: Path, digest: Digest, stated: RepoSibling) -> str | None:
    """Why the file is not what the hub states, or None. Large files state a SHA-256, small ones a git object id."""
    if stated.size is not None and path.stat().st_size != stated.size:
        return f"{path.stat().st_size} bytes, expected {stated.size}"
    if stated.lfs is not None:
        expected = f"sha256:{stated.lfs.sha256}"
        return None if digest == expected else f"{digest}, expected {expected}"
    if stated.blob_id is None or len(stated.blob_id) != 40:
        return None
    data = path.read_bytes()
    found = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    return None if found == stated.blob_id else f"git object {found}, expected {stated.blob_id}"


def _tag_statement(info: ModelInfo, label: str) -> Statement:
    card: dict[str, Any] = dict(vars(info.card_data)) if info.card_data else {}
    return licence_statement(card.get("license"), "hub-tag", label, card)


@contextmanager
def _hub_errors(name: str, revision: str | None) -> Iterator[None]:
    """Turn the hub client's exceptions into ours; the order goes from the special to the general."""
    from httpx2 import HTTPError
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise FailedPrecondition(
            f"repository {name!r} is gated: its owner asks for terms to be accepted first",
            fix="accept the terms on the repository's page, then: hf auth login",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise NotFound(f"repository {name!r} has no revision {revision!r}", fix=f"hf:{name}") from error
    except errors.RepositoryNotFoundError as error:
        raise NotFound(
            f"there is no repository {name!r} on the hub, or it is private",
            fix="check the spelling of ORG/NAME; for a private repository: hf auth login",
        ) from error
    except errors.HFValidationError as error:
        raise InvalidInput(f"{name!r} is not a repository name; expected ORG/NAME") from error
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
        raise Unavailable(
            f"the hub was not reached for {name!r}", fix="unset HF_HUB_OFFLINE, or check the network and HF_ENDPOINT"
        ) from error
    except OSError as error:
        # The client's own network errors are OSErrors without a number; one with a number is this machine's disk.
        if error.errno is not None and not isinstance(error, ConnectionError | TimeoutError):
            raise HeadstockError(
                f"a file of {name!r} could not be written: {error.strerror}",
                fix="free space in the hub cache, or set HF_HOME to a disk that has some",
            ) from error
        raise _unreachable(name, error) from error
    except HTTPError as error:
        raise _unreachable(name, error) from error


def _unreachable(name: str, error: Exception) -> Unavailable:
    return Unavailable(
        f"the hub did not answer for {name!r}: {type(error).__name__}",
        fix="check the network and HF_ENDPOINT, then run the pull again",
    )
