"""The protocol's extensions over HTTP: statistics, what is loaded, traces and logs, as the gRPC methods have them."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from headstock.catalogue import Catalogue
from headstock.testing.toy import Toy
from headstock_client import Client
from headstock_server.app import Running, ServeOptions
from headstock_server.engine import EngineOptions
from headstock_server.testing import background_server

Call = Callable[..., tuple[int, Any]]


@contextmanager
def serving(catalogue: Catalogue, **changes: Any) -> Iterator[tuple[Running, Call]]:
    options = ServeOptions(
        bind="127.0.0.1:0", http="127.0.0.1:0", engine=EngineOptions(token_budget=256), grace=5.0, **changes
    )
    with background_server(catalogue.settings, options) as server:

        def call(method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
            data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            with closing(http.client.HTTPConnection(server.http_address, timeout=20)) as connection:
                connection.request(method, path, data, headers or {})
                response = connection.getresponse()
                text = response.read()
                return response.status, json.loads(text) if text else None

        yield server, call


@pytest.fixture
def admin(catalogue: Catalogue, toy: Toy, tmp_path: Path) -> Iterator[tuple[Running, Call]]:
    with serving(catalogue, allow_admin=True, trace_file=tmp_path / "traces.jsonl") as running:
        yield running


@pytest.fixture
def reader(catalogue: Catalogue, toy: Toy) -> Iterator[Call]:
    with serving(catalogue) as (_, call):
        yield call


# ---------------------------------------------------------------------------------------------- statistics
def test_statistics_have_the_figures_of_grpc_as_numbers(admin: tuple[Running, Call]) -> None:
    """Of everything with the backbones, of a name, of one version."""
    server, call = admin
    with Client(server.address) as client:
        client.classify("sentiment", ["great", "awful"])
    for path in ("/v2/models/sentiment/stats", "/v2/models/sentiment/versions/1/stats"):
        status, found = call("GET", path)
        (row,) = found["model_stats"]
        assert (status, row["name"], row["version"], row["inference_count"]) == (200, "sentiment", "1", 2)
        assert row["inference_stats"]["success"]["count"] == 1
        assert row["inference_stats"]["success"]["ns"] > 0
    everything = [row["name"] for row in call("GET", "/v2/models/stats")[1]["model_stats"]]
    assert everything[:2] == ["intents", "sentiment"]
    assert everything[2].startswith("backbone:")
    assert call("GET", "/v2/models/nothing/stats")[0] == 404


# ---------------------------------------------------------------------------------------------- repository
def test_the_index_is_that_of_grpc(admin: tuple[Running, Call]) -> None:
    _, call = admin
    status, rows = call("POST", "/v2/repository/index")
    assert status == 200
    assert rows == [{"name": n, "version": "1", "state": "READY", "reason": ""} for n in ("intents", "sentiment")]
    call("POST", "/v2/repository/models/intents/unload")
    assert [row["state"] for row in call("POST", "/v2/repository/index", {})[1]] == ["UNAVAILABLE", "READY"]
    assert [row["name"] for row in call("POST", "/v2/repository/index", {"ready": True})[1]] == ["sentiment"]


def test_a_model_can_be_unloaded_and_loaded(admin: tuple[Running, Call]) -> None:
    server, call = admin
    assert (
        call("POST", "/v2/repository/models/sentiment/unload", {"parameters": {"unload_dependents": False}})[0] == 200
    )
    assert server.repository.resolve("sentiment") is None
    assert call("POST", "/v2/repository/models/sentiment/load") == (200, None)
    assert server.repository.resolve("sentiment") is not None
    assert call("POST", "/v2/repository/models/nothing/load")[0] == 404
    status, found = call("POST", "/v2/repository/models/sentiment/load", {"parameters": {"config": "{}"}})
    assert (status, "parameter 'config' of a load is not supported" in found["error"]) == (501, True)


# ---------------------------------------------------------------------------------------------- settings
def test_trace_settings_are_read_and_changed_for_all_and_for_one_model(admin: tuple[Running, Call]) -> None:
    _, call = admin
    assert call("GET", "/v2/trace/setting")[1]["trace_level"] == ["OFF"]
    changed = {"trace_level": ["TIMESTAMPS"], "trace_rate": 5}
    assert call("POST", "/v2/models/sentiment/trace/setting", changed)[1]["trace_rate"] == "5"
    assert call("GET", "/v2/trace/setting")[1]["trace_rate"] == "1000"
    assert call("GET", "/v2/models/sentiment/trace/setting")[1]["trace_level"] == ["TIMESTAMPS"]
    assert call("POST", "/v2/models/sentiment/trace/setting", {"trace_rate": None})[1]["trace_rate"] == "1000"
    assert call("POST", "/v2/trace/setting", {"trace_file": "x"})[0] == 400


def test_log_settings_are_read_and_changed(admin: tuple[Running, Call]) -> None:
    _, call = admin
    before = call("GET", "/v2/logging")[1]
    assert isinstance(before["log_verbose_level"], int)
    assert call("POST", "/v2/logging", {"log_warning": False})[1]["log_warning"] is False
    assert call("POST", "/v2/logging", {"log_warning": 1.5})[0] == 400


# ---------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    "path, body",
    [
        ("/v2/repository/models/sentiment/load", None),
        ("/v2/repository/models/sentiment/unload", None),
        ("/v2/trace/setting", {"trace_rate": 5}),
        ("/v2/logging", {"log_info": False}),
    ],
)
def test_changes_need_the_operators_permission(reader: Call, path: str, body: Any) -> None:
    status, found = reader("POST", path, body)
    assert (status, "headstock serve --allow-admin" in found["error"]) == (403, True)


@pytest.mark.parametrize("path", ["/v2/repository/models/sentiment/unload", "/v2/trace/setting", "/v2/logging"])
def test_a_web_page_changes_nothing(admin: tuple[Running, Call], path: str) -> None:
    """Whoever opens one on the operator's machine reaches what listens on loopback; browsers say where it came from."""
    server, call = admin
    status, found = call("POST", path, {}, {"Origin": "https://example.org", "Content-Type": "text/plain"})
    assert (status, "a page in a browser" in found["error"]) == (403, True)
    assert server.repository.resolve("sentiment") is not None


@pytest.mark.parametrize(
    "body, said",
    [(b"{", "not JSON"), (b"[1]", "not a JSON object"), ({"redy": True}, "'redy'"), ({"ready": 1}, "'ready'")],
)
def test_a_body_that_says_something_else_is_refused(reader: Call, body: Any, said: str) -> None:
    status, found = reader("POST", "/v2/repository/index", body)
    assert (status, said in found["error"]) == (400, True)


def test_http_announces_what_works_there(admin: tuple[Running, Call], catalogue: Catalogue) -> None:
    """The list of gRPC: operators' extensions only where they may be used."""
    everything = set(admin[1]("GET", "/v2")[1]["extensions"])
    assert {"statistics", "schedule_policy", "model_repository", "trace", "logging"} <= everything
    with serving(catalogue) as (_, call):
        assert not {"model_repository", "trace", "logging"} & set(call("GET", "/v2")[1]["extensions"])
