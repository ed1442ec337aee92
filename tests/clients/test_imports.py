"""The client is light: it imports neither the zoo's machinery nor anything that runs models."""

from __future__ import annotations

import subprocess
import sys

FORBIDDEN = (
    "torch",
    "onnxruntime",
    "sqlalchemy",
    "transformers",
    "tokenizers",
    "headstock.catalogue",
    "headstock_server",
)

_PROGRAM = """
import sys
import headstock_client
from headstock_client import AsyncClient, Client
Client("127.0.0.1:1").close()
print("\\n".join(sys.modules))
"""


def modules() -> set[str]:
    """Everything that a fresh interpreter has after importing and using the client."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_client_imports_nothing_heavy_and_nothing_of_the_zoo() -> None:
    """grpc, protobuf, numpy, and the generated messages."""
    loaded = modules()
    assert not [m for m in loaded if m in FORBIDDEN or m.startswith(tuple(f"{f}." for f in FORBIDDEN))]
    ours = {m for m in loaded if m.split(".")[0] == "headstock"}
    assert {m for m in ours if not m.startswith(("headstock.oip", "headstock.v1"))} == {"headstock"}


def test_the_public_names_are_pinned() -> None:
    """Adding one is a decision, losing one a break."""
    import headstock_client

    assert sorted(headstock_client.__all__) == [
        "Anomaly",
        "Answer",
        "Artefact",
        "AsyncClient",
        "BackboneStatistics",
        "Classification",
        "Client",
        "ClientError",
        "DeadlineExceeded",
        "Entity",
        "FailedPrecondition",
        "InferResult",
        "InvalidRequest",
        "Item",
        "LabelSet",
        "LicenceVerdict",
        "LineageEdge",
        "ModelMetadata",
        "ModelState",
        "NotFound",
        "Obligation",
        "Overloaded",
        "PermissionDenied",
        "Plugin",
        "Provenance",
        "RetryPolicy",
        "Ruling",
        "ServerError",
        "Signature",
        "TensorMetadata",
        "Transcript",
        "Unavailable",
        "Unsupported",
    ]
    assert all(hasattr(headstock_client, name) for name in headstock_client.__all__)


def test_the_sync_and_the_async_client_have_the_same_methods() -> None:
    """With the same parameters."""
    import inspect

    from headstock_client import AsyncClient, Client

    def signatures(kind: type) -> dict[str, list[str]]:
        methods = inspect.getmembers(kind, inspect.isfunction)
        return {name: list(inspect.signature(f).parameters) for name, f in methods if not name.startswith("_")}

    assert signatures(Client) == signatures(AsyncClient)
