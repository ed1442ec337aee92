"""A small local hub that the real hub client talks to (`HF_ENDPOINT`), with the faults that a real one can have."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

COMMIT = "0123456789abcdef0123456789abcdef01234567"
"""The commit that every repository of a `LocalHub` has, unless told otherwise."""

_LARGE = ".safetensors"


@dataclass(slots=True)
class Repository:
    """A model repository: a folder, what its card says, and what goes wrong with it."""

    folder: Path
    commit: str = COMMIT
    card_data: Mapping[str, Any] = field(default_factory=dict)
    """Front matter as the hub's API repeats it: `{"license": "mit"}`."""
    gated: bool = False
    corrupt: set[str] = field(default_factory=set)
    """Files whose body has the stated size and other bytes; the headers keep telling the true digest."""
    failures: int = 0
    """So many requests are answered with status 500 before the first good one."""


class LocalHub:
    """A hub on a free loopback port for the time of a `with` block.

        with LocalHub() as hub:
            hub.repositories["acme/tiny"] = Repository(folder)
            monkeypatch.setenv("HF_ENDPOINT", hub.url)

    Serves model info, file lists, and files with their true digests; revisions are `main` and the commit.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []
        """Paths asked for, in order: `HEAD /acme/tiny/resolve/main/config.json`."""
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        # A client that keeps its connection open must not keep the block from ending.
        self._server.daemon_threads = True
        self._server.block_on_close = False

    @property
    def url(self) -> str:
        """What `HF_ENDPOINT` must be."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> LocalHub:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: ClassVar[LocalHub]
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are kept in `LocalHub.requests`, not printed."""

    def _answer(self) -> None:
        path = self.path.partition("?")[0].strip("/")
        self.hub.requests.append(f"{self.command} /{path}")
        api = path.startswith("api/models/")
        parts = path.removeprefix("api/models/").split("/")
        name, rest = "/".join(parts[:2]), parts[2:]
        repository = self.hub.repositories.get(name)
        if repository is None:
            self._fail(404, "RepoNotFound")
        elif repository.failures > 0:
            repository.failures -= 1
            self._fail(500, "")
        elif repository.gated and not api:
            self._fail(403, "GatedRepo")
        elif len(rest) > 1 and rest[1] not in ("main", repository.commit):
            self._fail(404, "RevisionNotFound")
        elif not api and rest[:1] == ["resolve"]:
            self._send_file(repository, "/".join(rest[2:]))
        elif rest[:1] == ["tree"]:
            self._send_json([{"type": "file", **entry} for entry in _entries(repository)])
        elif api and rest[:1] in ([], ["revision"]):
            self._send_json(_info(name, repository))
        else:
            self._fail(404, "EntryNotFound")

    def _send_file(self, repository: Repository, name: str) -> None:
        path = repository.folder / name
        if ".." in name.split("/") or not path.is_file():
            self._fail(404, "EntryNotFound")
            return
        body = path.read_bytes()
        etag = hashlib.sha256(body).hexdigest() if name.endswith(_LARGE) else _git_id(body)
        if name in repository.corrupt:
            body = body[:-1] + bytes([body[-1] ^ 1])
        self._send(200, body, {"ETag": f'"{etag}"', "X-Repo-Commit": repository.commit})

    def _send_json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _fail(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code} if code else {})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def _git_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _entries(repository: Repository) -> list[dict[str, Any]]:
    """Every file as the hub states it: large ones with the SHA-256 of their bytes, all with a git object id."""
    entries = []
    for path in sorted(p for p in repository.folder.rglob("*") if p.is_file()):
        data = path.read_bytes()
        entry: dict[str, Any] = {"path": path.relative_to(repository.folder).as_posix(), "size": len(data)}
        if path.name.endswith(_LARGE):
            sha = hashlib.sha256(data).hexdigest()
            entry["lfs"] = {"sha256": sha, "oid": sha, "size": len(data), "pointerSize": 134}
            entry["oid"] = _git_id(f"version pointer {sha}".encode())
        else:
            entry["oid"] = _git_id(data)
        entries.append(entry)
    return entries


def _info(name: str, repository: Repository) -> dict[str, Any]:
    siblings = [
        {"rfilename": e["path"], "size": e["size"], "blobId": e["oid"], **({"lfs": e["lfs"]} if "lfs" in e else {})}
        for e in _entries(repository)
    ]
    return {
        "id": name,
        "modelId": name,
        "sha": repository.commit,
        "private": False,
        "gated": "manual" if repository.gated else False,
        "tags": [],
        "downloads": 0,
        "likes": 0,
        "cardData": dict(repository.card_data),
        "siblings": siblings,
    }
