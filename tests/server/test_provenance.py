"""Where a served model comes from and what it obliges to: the RPC, the client, metadata, configuration and answers."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from headstock.catalogue import Catalogue
from headstock.digest import Digest, digest_json
from headstock.licences import Context, Policy, verdict
from headstock.licences.decisions import conclude
from headstock.licences.proof import replay
from headstock.oip import open_inference_grpc_pb2 as oip
from headstock.oip.open_inference_grpc_pb2_grpc import GRPCInferenceServiceStub
from headstock.records import Edge, Publication, artefact_of
from headstock.testing.toy import publish_toy
from headstock.v1 import zoo_pb2 as pb
from headstock.v1.zoo_pb2_grpc import ZooStub
from headstock_client import AsyncClient, Client, NotFound, Obligation
from headstock_server.app import Running, ServeOptions
from headstock_server.engine import EngineOptions
from headstock_server.testing import background_server

PUBLIC = '[context]\npurpose = "commercial"\naudience = "public"\n'
LLAMA = "LicenseRef-headstock-llama-3.2"
OPTIONS = ServeOptions(
    bind="127.0.0.1:0", http="127.0.0.1:0", engine=EngineOptions(token_budget=64), response_cache=1 << 20
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    """`llama-chat` on a Llama backbone, built by a plugin from data, served to the public."""
    from headstock.settings import Settings

    path = tmp_path_factory.mktemp("llama")
    settings = Settings.from_environment({"HEADSTOCK_HOME": str(path), "HEADSTOCK_ACTOR": "otto"})
    with Catalogue.open(settings) as catalogue:
        toy = publish_toy(catalogue, ("llama-chat",))
        model = catalogue.artefact(toy.models["llama-chat"].subject)
        head = Digest(model.identity["head"])
        plugin = artefact_of("plugin", {"kind": "plugin", "distribution": "acme-heads", "version": "1.2"})
        data = artefact_of("dataset", {"kind": "dataset", "name": "tickets.csv", "sha256": "0" * 64})
        catalogue.publish(
            Publication(
                "llama-chat",
                "model",
                model.digest,
                [model, plugin, data],
                [Edge(head, "built_by_plugin", plugin.digest), Edge(head, "trained_on", data.digest)],
            )
        )
        conclude(catalogue, toy.backbone.subject, LLAMA, "read at the publisher's page")
        (path / "policy.toml").write_text(PUBLIC)
        yield catalogue


@pytest.fixture(scope="module")
def server(home: Catalogue) -> Iterator[Running]:
    with background_server(home.settings, OPTIONS) as running:
        yield running


@pytest.fixture
def stub(server: Running) -> Iterator[ZooStub]:
    with grpc.insecure_channel(server.address) as channel:
        yield ZooStub(channel)


def ask(stub: ZooStub, name: str = "llama-chat") -> pb.ProvenanceResponse:
    response: pb.ProvenanceResponse = stub.Provenance(pb.ProvenanceRequest(name=name))
    return response


# ---------------------------------------------------------------------------------------------- the RPC
def test_the_composition_names_its_parts_and_every_edge_of_the_lineage(stub: ZooStub, home: Catalogue) -> None:
    found = ask(stub)
    identity = home.artefact(home.newest("llama-chat").subject).identity
    assert found.parts["model"] == home.newest("llama-chat").subject
    assert (found.parts["backbone"], found.parts["head"]) == (identity["backbone"], identity["head"])
    kinds = {artefact.digest: artefact.kind for artefact in found.artefacts}
    edges = {(kinds[e.child], e.relation, kinds[e.parent]) for e in found.edges}
    assert edges == {
        ("model", "has_backbone", "backbone"),
        ("model", "has_head", "head"),
        ("model", "finetuned_from", "backbone"),
        ("head", "head_on", "backbone"),
        ("head", "trained_on", "dataset"),
        ("head", "built_by_plugin", "plugin"),
    }


def test_declared_and_concluded_licences_stand_apart_with_their_evidence(stub: ZooStub) -> None:
    (backbone,) = (a for a in ask(stub).artefacts if a.kind == "backbone")
    assert (backbone.declared, backbone.concluded) == ("CC0-1.0", LLAMA)
    assert backbone.reason == "read at the publisher's page"
    (said,) = backbone.statements
    assert (said.field, said.value, said.source, said.locator) == ("licence", "CC0-1.0", "manifest", "toy:manifest")
    assert said.scope == "weights"
    assert {a.declared for a in ask(stub).artefacts if a.kind == "dataset"} == {"NOASSERTION"}


def test_the_plugin_that_built_a_part_is_named_with_what_it_built(stub: ZooStub) -> None:
    found = ask(stub)
    (plugin,) = found.plugins
    assert (plugin.distribution, plugin.version) == ("acme-heads", "1.2")
    assert list(plugin.made) == [found.parts["head"]]


def test_every_act_has_a_verdict_whose_proof_can_be_computed_again(stub: ZooStub, home: Catalogue) -> None:
    found = ask(stub)
    assert [v.act for v in found.verdicts] == ["train", "serve", "distribute"]
    assert found.use == "for commercial use to public"
    for each in found.verdicts:
        made = verdict(home, home.newest("llama-chat").subject, Context("commercial", "public", each.act))  # type: ignore[arg-type]
        assert (each.value, each.reason, each.proof_id) == (made.value, made.reason, made.proof_id)
        assert replay(json.loads(each.proof)) == each.value
        assert "backbone toy" in each.tree


def test_a_proof_of_declared_licences_has_the_digest_that_it_is_named_by(catalogue: Catalogue) -> None:
    """Anybody can check that it is the one which the operator sees."""
    publish_toy(catalogue)
    with background_server(catalogue.settings, OPTIONS) as server, grpc.insecure_channel(server.address) as channel:
        for each in ask(ZooStub(channel), "sentiment").verdicts:
            assert digest_json(json.loads(each.proof)) == each.proof_id


def test_nobody_learns_who_decided(stub: ZooStub) -> None:
    """That is in the audit log. The name has letters that no digest has."""
    text = ask(stub).SerializeToString()
    assert b"read at the publisher's page" in text
    assert b"otto" not in text


def test_duties_come_with_words_to_show_and_policies_to_keep_to(stub: ZooStub) -> None:
    found = ask(stub)
    assert list(found.display) == ["Built with Llama"]
    assert list(found.acceptable_use) == ["https://www.llama.com/llama3_2/use-policy/"]
    (serving,) = (v for v in found.verdicts if v.act == "serve")
    duties = {(o.duty, o.licence, o.payload) for o in serving.obligations}
    assert {("display", LLAMA, "Built with Llama"), ("name-prefix", LLAMA, "Llama")} <= duties
    (sharing,) = (v for v in found.verdicts if v.act == "distribute")
    assert "include-text" in {o.duty for o in sharing.obligations}


def test_a_backbone_has_a_provenance_too(stub: ZooStub) -> None:
    found = ask(stub, "toy")
    assert (found.kind, set(found.parts), len(found.verdicts)) == ("backbone", {"backbone"}, 3)


def test_what_does_not_exist_has_no_provenance(stub: ZooStub) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        ask(stub, "llama-chad")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert "llama-chat" in str(caught.value.details())


def test_a_server_that_does_not_ask_still_shows_where_things_come_from(home: Catalogue) -> None:
    options = ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=64), licences="off")
    with background_server(home.settings, options) as server, grpc.insecure_channel(server.address) as channel:
        found = ask(ZooStub(channel))
    assert len(found.edges) == 6
    assert (found.refused, found.signature.verified) == ("", False)


def test_a_policy_that_makes_no_sense_is_not_the_callers_mistake(catalogue: Catalogue) -> None:
    """A server that does not ask starts without reading it."""
    publish_toy(catalogue)
    (catalogue.settings.home / "policy.toml").write_text("purpose: commercial")
    options = ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=64), licences="off")
    with (
        background_server(catalogue.settings, options) as server,
        grpc.insecure_channel(server.address) as channel,
        pytest.raises(grpc.RpcError, match=r"policy file 'policy\.toml' is not TOML") as caught,
    ):
        ask(ZooStub(channel), "sentiment")
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_a_refused_version_says_so(catalogue: Catalogue) -> None:
    publish_toy(catalogue)
    conclude(catalogue, catalogue.newest("toy").subject, "CC-BY-NC-4.0", "decided for the test")
    (catalogue.settings.home / "policy.toml").write_text(PUBLIC)
    with background_server(catalogue.settings, OPTIONS) as server, grpc.insecure_channel(server.address) as channel:
        found = ask(ZooStub(channel), "sentiment")
    assert "serving 'sentiment:1' is refused" in found.refused
    assert {v.act: v.action for v in found.verdicts} == {"train": "refuse", "serve": "refuse", "distribute": "refuse"}


# ---------------------------------------------------------------------------------------------- the client
def test_the_client_gives_it_as_plain_data(server: Running) -> None:
    with Client(server.address) as client:
        found = client.provenance("llama-chat")
        with pytest.raises(NotFound):
            client.provenance("nothing")
    assert found.display == ("Built with Llama",)
    assert found.verdicts["serve"].value == "allow"
    assert replay(found.verdicts["serve"].proof) == "allow"
    assert found.plugins[0].made == (found.parts["head"],)
    assert (found.signature.mode, found.signature.present) == ("off", False)

    async def again() -> Any:
        async with AsyncClient(server.address) as asynchronous:
            return await asynchronous.provenance("llama-chat")

    assert asyncio.run(again()) == found


# ---------------------------------------------------------------------------------------------- metadata and answers
@pytest.fixture
def client(server: Running) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.address) as opened:
        yield opened


def infer(client: triton.InferenceServerClient, parameters: dict[str, Any] | None = None) -> Any:
    tensor = triton.InferInput("text", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([b"great order"], object))
    return client.infer("llama-chat", [tensor], parameters=parameters)


def test_metadata_has_properties_by_grpc_and_http_and_tritonclient_passes_them_over(
    server: Running, client: triton.InferenceServerClient, home: Catalogue
) -> None:
    """Field 6 of the protocol's newer text, which Triton's message does not have."""
    with grpc.insecure_channel(server.address) as channel:
        stub = GRPCInferenceServiceStub(channel)
        found = dict(stub.ModelMetadata(oip.ModelMetadataRequest(name="llama-chat")).properties)
    made = verdict(home, home.newest("llama-chat").subject)
    assert found["headstock.backbone"] == home.newest("toy").subject
    assert (found["headstock.licence_declared"], found["headstock.licence_concluded"]) == ("CC0-1.0", LLAMA)
    assert (found["headstock.licence_verdict"], found["headstock.licence_proof"]) == ("allow", made.proof_id)
    assert json.loads(found["headstock.licence_display"]) == ["Built with Llama"]
    with urllib.request.urlopen(f"http://{server.http_address}/v2/models/llama-chat") as response:
        assert json.load(response)["properties"] == found
    assert client.get_model_metadata("llama-chat").inputs[0].name == "text"


def test_the_configuration_carries_the_duties(client: triton.InferenceServerClient) -> None:
    parameters = client.get_model_config("llama-chat").config.parameters
    assert json.loads(parameters["headstock.licence_display"].string_value) == ["Built with Llama"]
    duties = json.loads(parameters["headstock.licence_duties"].string_value)
    assert {"duty": "name-prefix", "licence": LLAMA, "payload": "Llama"} in duties


@pytest.mark.parametrize("ask_first", [True, False])
def test_an_answer_carries_them_if_the_request_asks(client: triton.InferenceServerClient, ask_first: bool) -> None:
    """Also if it comes from the response cache, which holds one answer for both."""
    for asked in (ask_first, not ask_first):
        parameters = infer(client, {"licence": True} if asked else None).get_response().parameters
        assert ("licence_display" in parameters) == asked
        if asked:
            assert json.loads(parameters["licence_display"].string_param) == ["Built with Llama"]
            assert parameters["licence_verdict"].string_param == "allow"
            assert parameters["licence_proof"].string_param.startswith("sha256:")


def test_the_python_client_reads_them(server: Running) -> None:
    with Client(server.address) as client:
        said = client.predict("llama-chat", ["great order"], licence=True).licence
        assert client.predict("llama-chat", ["great order"]).licence is None
    assert said is not None
    assert (said.value, said.concluded) == ("allow", LLAMA)
    assert said.display == ("Built with Llama",)
    assert Obligation("name-prefix", LLAMA, "Llama") in said.obligations


def test_an_answer_over_http_carries_them_too(server: Running) -> None:
    body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["great order"]}]}
    address = f"http://{server.http_address}/v2/models/llama-chat/infer"
    for asked in (True, False):
        data = json.dumps({**body, "parameters": {"licence": asked}}).encode()
        with urllib.request.urlopen(urllib.request.Request(address, data)) as response:
            said = json.load(response).get("parameters", {})
        assert json.loads(said.get("licence_display", "[]")) == (["Built with Llama"] if asked else [])


def test_asking_with_something_else_than_a_truth_value_is_refused(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="parameter 'licence' is 'yes'; expected true or false"):
        infer(client, {"licence": "yes"})


def test_the_default_use_owes_no_words(catalogue: Catalogue) -> None:
    """Who serves only himself makes nothing available."""
    toy = publish_toy(catalogue)
    conclude(catalogue, toy.backbone.subject, LLAMA, "decided for the test")
    with background_server(catalogue.settings, OPTIONS) as server, grpc.insecure_channel(server.address) as channel:
        assert list(ask(ZooStub(channel), "sentiment").display) == []
    assert Policy.default().context.audience == "self"
