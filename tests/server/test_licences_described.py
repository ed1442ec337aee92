"""What a server tells of licences: the verdict of every listed model, and a refusal that a client can read."""

from __future__ import annotations

import grpc
import pytest

from headstock.catalogue import Catalogue
from headstock.licences import verdict
from headstock.licences.decisions import conclude
from headstock.testing.toy import publish_toy
from headstock.v1 import zoo_pb2 as pb
from headstock.v1.zoo_pb2_grpc import ZooStub
from headstock_client import Client, PermissionDenied
from headstock_server.app import ServeOptions
from headstock_server.engine import EngineOptions
from headstock_server.testing import background_server

PUBLIC = '[context]\npurpose = "commercial"\naudience = "public"\n'


@pytest.fixture
def denied(catalogue: Catalogue) -> Catalogue:
    """A catalogue whose models stand on a non-commercial backbone, asked about a commercial use."""
    publish_toy(catalogue)
    conclude(catalogue, catalogue.newest("toy").subject, "CC-BY-NC-4.0", "decided for the test")
    (catalogue.settings.home / "policy.toml").write_text(PUBLIC)
    return catalogue


def test_the_list_carries_the_verdict_the_licence_and_the_proof(denied: Catalogue) -> None:
    """Those of `headstock licence why`, of a backbone too, although it is not served by its name."""
    options = ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=64))
    with background_server(denied.settings, options) as server, grpc.insecure_channel(server.address) as channel:
        entries = {e.name: e for e in ZooStub(channel).List(pb.ListRequest()).entries}
    made = verdict(denied, denied.newest("sentiment").subject)
    found = entries["sentiment"]
    assert (found.verdict, found.verdict_reason, found.proof_id) == ("deny", made.reason, made.proof_id)
    assert list(found.licences) == ["CC0-1.0"]
    backbone = verdict(denied, denied.newest("toy").subject)
    assert (entries["toy"].verdict, entries["toy"].proof_id) == ("deny", backbone.proof_id)
    assert entries["toy"].state == ""


def test_a_server_that_asks_nothing_lists_no_verdict(denied: Catalogue) -> None:
    """Empty, not `allow`."""
    options = ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=64), licences="off")
    with background_server(denied.settings, options) as server, grpc.insecure_channel(server.address) as channel:
        entries = ZooStub(channel).List(pb.ListRequest(kind="model")).entries
        with Client(server.address) as client:
            answer = client.predict("sentiment", ["great"], licence=True)
    assert {e.verdict for e in entries} == {""}
    assert answer.licence is None


def test_the_client_raises_permission_denied_with_reason_and_proof(denied: Catalogue) -> None:
    """Enough to look the refusal up without parsing its message; asking again would not help."""
    options = ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=64))
    with (
        background_server(denied.settings, options) as server,
        Client(server.address) as client,
        pytest.raises(PermissionDenied, match=r"CC-BY-NC-4\.0: non-commercial") as caught,
    ):
        client.classify("sentiment", ["great"])
    assert caught.value.code is grpc.StatusCode.PERMISSION_DENIED
    assert caught.value.reason == "LICENCE_REFUSED"
    assert caught.value.proof_id == verdict(denied, denied.newest("sentiment").subject).proof_id
    assert caught.value.fix == "headstock licence why sentiment:1"
    assert not caught.value.retriable
