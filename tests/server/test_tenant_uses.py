"""Tenants with a use of their own: what one may do with a model another may not, and both share a backbone's passes."""

from __future__ import annotations

import itertools
import json
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.error import HTTPError

import grpc
import pytest
import tritonclient.grpc as triton
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from headstock.catalogue import Catalogue
from headstock.errors import InvalidInput, LicenceRefused
from headstock.licences import Context, verdict
from headstock.licences.decisions import conclude
from headstock.licences.judge import Duty
from headstock.licences.policy import Policy
from headstock.oip import open_inference_grpc_pb2 as pb
from headstock.oip.open_inference_grpc_pb2_grpc import GRPCInferenceServiceStub
from headstock.testing.toy import publish_toy
from headstock.v1 import zoo_pb2
from headstock.v1.zoo_pb2_grpc import ZooStub
from headstock_server.app import Running, ServeOptions
from headstock_server.engine import EngineOptions
from headstock_server.repository.ruling import Ruling, stricter
from headstock_server.testing import background_server
from headstock_server.transport.tenant import TENANT, tenant_of

CLOSED = """
[context]
purpose = "commercial"
audience = "public"

[tenants.lab]
purpose = "research"
trusted = true

[tenants.shop]
purpose = "commercial"

[tenants.boaster]
purpose = "research"
"""
"""Whoever names no tenant is taken for the strictest of them; only the name of the lab comes from a gateway."""

LAB, SHOP = ((TENANT, "lab"),), ((TENANT, "shop"),)


@pytest.fixture
def nc(catalogue: Catalogue) -> Catalogue:
    """Two models of Apache-2.0 heads on a non-commercial backbone."""
    publish_toy(catalogue)
    conclude(catalogue, catalogue.newest("toy").subject, "CC-BY-NC-4.0", "decided for the test")
    for name in ("sentiment", "intents"):
        head = catalogue.artefact(catalogue.newest(name).subject).identity["head"]
        conclude(catalogue, head, "Apache-2.0", "decided for the test")
    return catalogue


@contextmanager
def serving(catalogue: Catalogue, policy: str, **more: object) -> Iterator[tuple[Running, GRPCInferenceServiceStub]]:
    (catalogue.settings.home / "policy.toml").write_text(policy)
    options = ServeOptions(
        bind="127.0.0.1:0",
        http="127.0.0.1:0",
        engine=EngineOptions(token_budget=256),
        **more,  # type: ignore[arg-type]
    )
    with ExitStack() as stack:
        server = stack.enter_context(background_server(catalogue.settings, options))
        channel = stack.enter_context(grpc.insecure_channel(server.address))
        yield server, GRPCInferenceServiceStub(channel)


def request(name: str = "sentiment", version: str = "") -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name=name, model_version=version)
    message.inputs.add(name="text", datatype="BYTES", shape=[1])
    message.raw_input_contents.append(b"\x05\x00\x00\x00great")
    return message


def code(stub: GRPCInferenceServiceStub, tenant: str = "", name: str = "sentiment") -> grpc.StatusCode:
    metadata = ((TENANT, tenant),) if tenant else ()
    found: grpc.StatusCode = stub.ModelInfer.future(request(name), metadata=metadata).code()
    return found


OK, DENIED = grpc.StatusCode.OK, grpc.StatusCode.PERMISSION_DENIED


# ---------------------------------------------------------------------------------------------- acceptance
def test_research_is_allowed_and_commerce_denied_with_reason_and_proof(nc: Catalogue) -> None:
    """A non-commercial backbone under a permissive head: the same model, the same moment, two tenants."""
    with serving(nc, CLOSED) as (_, stub):
        assert stub.ModelInfer(request(), metadata=LAB).model_version == "1"
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(request(), metadata=SHOP)
    assert caught.value.code() is DENIED
    assert "backbone toy: CC-BY-NC-4.0: non-commercial, and the purpose is commercial" in str(caught.value.details())
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in rpc_status.from_call(caught.value).details)
    made = verdict(nc, nc.newest("sentiment").subject, Context("commercial", "public"))
    assert (info.reason, info.metadata["proof_id"]) == ("LICENCE_REFUSED", made.proof_id)


def test_rows_of_two_uses_share_a_pass_of_the_backbone(nc: Catalogue) -> None:
    """Rights are checked before batching and belong to a request; the pass belongs to the backbone."""
    head = nc.artefact(nc.newest("intents").subject).identity["head"]
    conclude(nc, head, "CC-BY-NC-4.0", "decided for the test")
    conclude(nc, nc.newest("toy").subject, "Apache-2.0", "decided for the test")
    with serving(nc, CLOSED) as (server, stub):
        # The head of `intents` is for research only, that of `sentiment` for everybody.
        assert (code(stub, "shop", "intents"), code(stub, "lab", "intents")) == (DENIED, OK)
        assert code(stub, "shop", "sentiment") is OK
        before = server.scheduler.statistics()
        server.scheduler.hold(2)
        calls = [
            stub.ModelInfer.future(request("intents"), metadata=LAB),
            stub.ModelInfer.future(request("sentiment"), metadata=SHOP),
        ]
        assert [call.result().model_name for call in calls] == ["intents", "sentiment"]
        after = server.scheduler.statistics()
    passes = [sum(b.passes for b in s.backbones.values()) for s in (before, after)]
    mixed = [sum(b.mixed_passes for b in s.backbones.values()) for s in (before, after)]
    assert (passes[1] - passes[0], mixed[1] - mixed[0]) == (1, 1)


# ---------------------------------------------------------------------------------------------- claims
def test_a_tenant_that_the_policy_does_not_name_gets_the_policys_own_use(nc: Catalogue) -> None:
    with serving(nc, CLOSED) as (_, stub):
        assert (code(stub), code(stub, "somebody")) == (DENIED, DENIED)
    with serving(nc, '[context]\npurpose = "research"\n[tenants.shop]\npurpose = "commercial"\n') as (_, stub):
        assert (code(stub), code(stub, "somebody"), code(stub, "shop")) == (OK, OK, DENIED)


def test_a_name_that_anybody_may_give_allows_nothing_more(nc: Catalogue) -> None:
    """`boaster` states a research use as `lab` does, but the policy does not say that a gateway stands behind it."""
    with serving(nc, CLOSED) as (_, stub):
        assert (code(stub, "lab"), code(stub, "boaster")) == (OK, DENIED)


def test_a_claim_can_restrict_itself_without_trust(nc: Catalogue) -> None:
    """Warned of in the common use, denied in the tenant's."""
    with serving(nc, '[tenants.shop]\npurpose = "commercial"\n') as (_, stub):
        answer, call = stub.ModelInfer.with_call(request())
        assert answer.model_version == "1"
        assert "headstock-licence-warning" in dict(call.trailing_metadata())
        assert code(stub, "shop") is DENIED


def test_the_stricter_ruling_holds_and_the_tenants_own_duties_with_it() -> None:
    """In whatever order of strictness: refused before warned of before silent, deny before unknown before allow."""
    refusal = LicenceRefused("no", proof_id="p")
    show = Duty("display", "LicenseRef-headstock-llama-3.2", "Built with Llama")
    rulings = [
        Ruling("allow", "", "silent", duties=(show,), display=("Built with Llama",)),
        Ruling("allow", "", "warned", warning="w"),
        Ruling("unknown", "", "unsure", warning="w"),
        Ruling("deny", "", "passed over"),
        Ruling("allow", "", "misnamed", refusal),
        Ruling("deny", "", "denied", refusal),
    ]
    for (place, common), (other, own) in itertools.product(enumerate(rulings), repeat=2):
        held = stricter(own, common)
        assert held.proof_id == rulings[max(place, other)].proof_id
        assert set(own.display) <= set(held.display)
        assert set(own.duties) <= set(held.duties)


def test_a_call_that_names_two_tenants_is_refused(nc: Catalogue) -> None:
    """A gateway that adds its name to one that the caller sent must not be outdone by it."""
    with serving(nc, CLOSED) as (_, stub):
        for both in (LAB + SHOP, SHOP + LAB):
            with pytest.raises(grpc.RpcError, match="names two tenants") as caught:
                stub.ModelInfer(request(), metadata=both)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert stub.ModelInfer(request(), metadata=LAB + LAB).model_version == "1"
    with pytest.raises(InvalidInput, match="names two tenants"):
        tenant_of([*LAB, *SHOP])


# ---------------------------------------------------------------------------------------------- everywhere
def test_every_transport_asks_about_the_callers_use(nc: Catalogue) -> None:
    with serving(nc, CLOSED) as (server, stub):
        for tenant, wanted in (("lab", 200), ("shop", 403)):
            body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["great"]}]}
            post = urllib.request.Request(
                f"http://{server.http_address}/v2/models/sentiment/infer",
                json.dumps(body).encode(),
                {"Content-Type": "application/json", TENANT: tenant},
            )
            try:
                with urllib.request.urlopen(post) as response:
                    status = response.status
            except HTTPError as error:
                with error:
                    status, document = error.code, json.load(error)
                assert document["reason"] == "LICENCE_REFUSED"
                assert document["proof_id"] == verdict(nc, nc.newest("sentiment").subject).proof_id
            assert status == wanted
            (answer,) = stub.ModelStreamInfer(iter([request()]), metadata=((TENANT, tenant),))
            assert ("is refused" in answer.error_message) == (tenant == "shop")


def test_what_a_server_says_of_a_model_is_about_the_callers_use(nc: Catalogue) -> None:
    """Readiness, index, configuration and list; tritonclient passes the name as a header."""
    with serving(nc, CLOSED) as (server, stub):
        with triton.InferenceServerClient(server.address) as client:
            assert client.is_model_ready("sentiment", headers={TENANT: "lab"})
            assert not client.is_model_ready("sentiment", headers={TENANT: "shop"})
        states = {
            tenant: {m.state for m in stub.RepositoryIndex(pb.RepositoryIndexRequest(), metadata=metadata).models}
            for tenant, metadata in (("lab", LAB), ("shop", SHOP))
        }
        assert states == {"lab": {"READY"}, "shop": {"UNAVAILABLE"}}
        config = stub.ModelConfig(pb.ModelConfigRequest(name="sentiment"), metadata=LAB).config
        assert config.parameters["headstock.licence_verdict"].string_value == "allow"
        with grpc.insecure_channel(server.address) as channel:
            for metadata, wanted in ((LAB, "allow"), (SHOP, "deny")):
                listed = ZooStub(channel).List(zoo_pb2.ListRequest(kind="model"), metadata=metadata).entries
                assert {entry.verdict for entry in listed} == {wanted}


def test_what_a_caller_may_not_use_is_not_loaded_for_it(nc: Catalogue) -> None:
    """A refusal takes no memory from others; whoever may use it still gets it."""
    with serving(nc, CLOSED, allow_admin=True) as (server, stub):
        server.repository._evict(server.repository.loaded()[0].resident)
        assert code(stub, "shop") is DENIED
        assert server.repository.loaded() == []
        assert code(stub, "lab") is OK
        assert [model.name for model in server.repository.loaded()] == ["sentiment"]


def test_a_refusal_says_which_use_and_how_to_ask_about_it(nc: Catalogue) -> None:
    with (
        serving(nc, '[tenants.shop]\npurpose = "commercial"\naudience = "public"\n') as (_, stub),
        pytest.raises(grpc.RpcError) as caught,
    ):
        stub.ModelInfer(request(), metadata=SHOP)
    details = str(caught.value.details())
    assert "serving 'sentiment:1' for commercial use to public is refused" in details
    assert "headstock licence why sentiment:1 --purpose commercial --audience public" in details


def test_a_changed_tenant_takes_effect_without_a_restart(nc: Catalogue) -> None:
    with serving(nc, CLOSED) as (server, stub):
        assert code(stub, "boaster") is DENIED
        (nc.settings.home / "policy.toml").write_text(CLOSED + "trusted = true\n")
        server.repository.refresh()
        assert code(stub, "boaster") is OK


# ---------------------------------------------------------------------------------------------- the policy file
@pytest.mark.parametrize(
    "text, said",
    [
        ('[tenants.lab]\npurpose = "science"', "the policy's tenant 'lab': purpose is 'science'"),
        ('[tenants.lab]\ntrusted = "yes"', "the policy's tenant 'lab': trusted is 'yes'; expected true or false"),
        ('[tenants.lab]\nmoney = "no"', "the policy's tenant 'lab': a context has no 'money'"),
        ('[tenants]\nlab = "research"', r"expected a section \[tenants\.lab\]"),
    ],
)
def test_a_tenant_that_makes_no_sense_is_refused_with_its_name(catalogue: Catalogue, text: str, said: str) -> None:
    path = catalogue.settings.home / "policy.toml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=said):
        Policy.read(path)


def test_a_tenants_use_is_the_policys_own_but_for_what_it_says() -> None:
    policy = Policy.from_mapping({"context": {"territory": "de"}, "tenants": {"lab": {"purpose": "research"}}})
    assert policy.context_of("lab") == Context("research", territory="DE")
    assert policy.context_of("nobody") == Context(territory="DE")


def test_a_proof_does_not_say_who_else_is_served() -> None:
    with_tenants = Policy.from_mapping({"tenants": {"lab": {"purpose": "research"}}})
    assert with_tenants.as_json == Policy.default().as_json
    assert Policy.from_mapping(with_tenants.to_json()) == with_tenants


# ---------------------------------------------------------------------------------------------- cost
def test_tenants_with_one_use_are_judged_once(nc: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand tenants of three uses cost three verdicts on a version."""
    from headstock_server.repository import judging

    judged: list[Context] = []
    inner = judging.judge_many
    monkeypatch.setattr(
        judging, "judge_many", lambda facts, subjects, context, policy, today: (
            judged.append(context), inner(facts, subjects, context, policy, today)
        )[1],
    )  # fmt: skip
    many = "".join(f'[tenants.t{n}]\npurpose = "{"research" if n % 2 else "commercial"}"\n' for n in range(1000))
    with serving(nc, many) as (server, stub):
        assert len(judged) == 3
        assert (code(stub, "t1"), code(stub, "t2")) == (OK, DENIED)
        rulings = {id(server.repository.licences.ruling(nc.newest("sentiment"), f"t{n}")) for n in range(1000)}
        assert len(rulings) <= 3
