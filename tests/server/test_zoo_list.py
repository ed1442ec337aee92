"""Zoo.List: which versions may be used for a purpose, which stand on a backbone, and the verdict on each."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import grpc
import pytest
from click.testing import CliRunner

from headstock.catalogue import Catalogue
from headstock.cli.main import cli
from headstock.licences import verdict
from headstock.licences.decisions import conclude
from headstock.testing.toy import ToyHead, publish_backbone, publish_model, publish_toy
from headstock.v1 import zoo_pb2 as pb
from headstock.v1.zoo_pb2_grpc import ZooStub
from headstock_server.app import ServeOptions
from headstock_server.engine import EngineOptions
from headstock_server.testing import background_server

List = Callable[..., list[pb.Entry]]


@pytest.fixture
def listing(catalogue: Catalogue) -> Iterator[List]:
    """Three models: two on a free backbone, `flowers` on one that is for research only."""
    publish_toy(catalogue)
    nc = publish_backbone(catalogue, "nc", seed=5)
    publish_model(catalogue, "flowers", nc, ToyHead(seed=4))
    conclude(catalogue, nc.subject, "CC-BY-NC-4.0", "decided for the test")
    options = ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=64))
    with background_server(catalogue.settings, options) as server, grpc.insecure_channel(server.address) as channel:
        stub = ZooStub(channel)
        yield lambda **wanted: list(stub.List(pb.ListRequest(**wanted)).entries)


def names(entries: list[pb.Entry]) -> list[str]:
    return [entry.name for entry in entries]


@pytest.mark.parametrize("may", ["research", "internal", "commercial"])
def test_may_means_what_the_command_means(
    listing: List, catalogue: Catalogue, may: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTOCK_HOME", str(catalogue.settings.home))
    printed = CliRunner().invoke(cli, ["list", "--may", may, "--format", "quiet"], catch_exceptions=False).stdout
    found = listing(may=may)
    assert [f"{e.name}:{e.version}" for e in found] == printed.split()
    assert ("flowers" in names(found)) == (may == "research")


def test_a_backbone_has_a_verdict_and_no_state(listing: List, catalogue: Catalogue) -> None:
    entries = {e.name: e for e in listing()}
    made = verdict(catalogue, catalogue.newest("nc").subject)
    assert (entries["nc"].verdict, entries["nc"].verdict_reason) == ("unknown", made.reason)
    assert (entries["nc"].proof_id, entries["nc"].state) == (made.proof_id, "")
    assert (entries["toy"].verdict, entries["flowers"].verdict) == ("allow", "unknown")


def test_a_list_can_be_of_what_stands_on_one_backbone(listing: List, catalogue: Catalogue) -> None:
    """By the digest or its beginning; with the others, filters add up."""
    nc, toy = (catalogue.newest(name).subject for name in ("nc", "toy"))
    assert names(listing(backbone=nc)) == ["flowers", "nc"]
    assert names(listing(backbone=toy[:15], kind="model")) == ["intents", "sentiment"]
    assert names(listing(backbone=nc, may="commercial")) == []
    assert names(listing(backbone="sha256:" + "0" * 64)) == []


@pytest.mark.parametrize(
    "wanted, said",
    [
        ({"may": "fun"}, "may is 'fun'; expected one of ['research', 'internal', 'commercial'] or ''"),
        ({"backbone": "toy"}, "backbone 'toy' is no digest"),
        ({"backbone": "sha256:abc"}, "expected 'sha256:' and 8 to 64 hex digits"),
        ({"kind": "head"}, "kind 'head' is not known"),
    ],
)
def test_what_can_be_no_filter_is_refused(listing: List, wanted: dict[str, str], said: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        listing(**wanted)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert said in str(caught.value.details())
