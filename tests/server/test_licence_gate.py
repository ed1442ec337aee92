"""Verdicts while serving: what is refused or warned of, at what cost, and how decisions reach a server that runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from headstock.catalogue import Catalogue
from headstock.errors import InvalidInput, LicenceRefused, NotFound
from headstock.licences import verdict
from headstock.licences.decisions import conclude, withdraw
from headstock.licences.policy import Policy
from headstock.oip import open_inference_grpc_pb2 as pb
from headstock.oip.open_inference_grpc_pb2_grpc import GRPCInferenceServiceStub
from headstock.testing.toy import ToyHead, publish_backbone, publish_model, publish_toy
from headstock_server.app import Running, ServeOptions
from headstock_server.engine import Engine, EngineOptions
from headstock_server.repository import Repository
from headstock_server.repository.licence_gate import LicenceGate, Mode, today_utc
from headstock_server.testing import background_server

PUBLIC = '[context]\npurpose = "commercial"\naudience = "public"\n'
WARNING = "headstock-licence-warning"
SECONDS = 10.0


@pytest.fixture
def stub_of() -> Iterator[Callable[[Running], GRPCInferenceServiceStub]]:
    channels: list[grpc.Channel] = []

    def open_stub(server: Running) -> GRPCInferenceServiceStub:
        channels.append(grpc.insecure_channel(server.address))
        return GRPCInferenceServiceStub(channels[-1])

    yield open_stub
    for channel in channels:
        channel.close()


Stub = Callable[[Running], GRPCInferenceServiceStub]


@contextmanager
def serving(catalogue: Catalogue, licences: Mode = "enforce", **more: object) -> Iterator[Running]:
    options = ServeOptions(
        bind="127.0.0.1:0",
        engine=EngineOptions(token_budget=256),
        licences=licences,
        **more,  # type: ignore[arg-type]
    )
    with background_server(catalogue.settings, options) as server:
        yield server


def decide(catalogue: Catalogue, licence: str, name: str = "toy") -> None:
    conclude(catalogue, catalogue.newest(name).subject, licence, "decided for the test")


def policy(catalogue: Catalogue, text: str) -> None:
    (catalogue.settings.home / "policy.toml").write_text(text)


def request(name: str = "sentiment", version: str = "") -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(
        model_name=name, model_version=version, raw_input_contents=[b"\x05\x00\x00\x00great"]
    )
    message.inputs.add(name="text", datatype="BYTES", shape=[1])
    return message


def refusal(
    stub: GRPCInferenceServiceStub, name: str = "sentiment"
) -> tuple[grpc.RpcError, error_details_pb2.ErrorInfo]:
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request(name))
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in rpc_status.from_call(caught.value).details)
    return caught.value, info


def answers(stub: GRPCInferenceServiceStub, name: str = "sentiment") -> bool:
    call = stub.ModelInfer.future(request(name))
    assert call.code() in (grpc.StatusCode.OK, grpc.StatusCode.PERMISSION_DENIED), call.details()
    return bool(call.code() is grpc.StatusCode.OK)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def state(stub: GRPCInferenceServiceStub, name: str = "sentiment") -> tuple[str, str]:
    rows = [row for row in stub.RepositoryIndex(pb.RepositoryIndexRequest()).models if row.name == name]
    return rows[0].state, rows[0].reason


# ---------------------------------------------------------------------------------------------- refusal
def test_a_denied_model_is_refused_with_a_reason_and_the_proof(catalogue: Catalogue, stub_of: Stub) -> None:
    """For people in the message, for programs in ErrorInfo; the id is that of `headstock licence why`."""
    publish_toy(catalogue)
    decide(catalogue, "CC-BY-NC-4.0")
    policy(catalogue, PUBLIC)
    with serving(catalogue) as server:
        error, info = refusal(stub_of(server))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "serving 'sentiment:1' is refused: the licence verdict is deny: backbone toy: CC-BY-NC-4.0" in str(
        error.details()
    )
    assert (info.reason, info.domain) == ("LICENCE_REFUSED", "headstock")
    assert info.metadata["fix"] == "headstock licence why sentiment:1"
    assert info.metadata["proof_id"] == verdict(catalogue, catalogue.newest("sentiment").subject).proof_id


def test_a_denied_model_is_listed_as_unavailable_and_takes_no_memory(catalogue: Catalogue, stub_of: Stub) -> None:
    publish_toy(catalogue)
    decide(catalogue, "CC-BY-NC-4.0")
    policy(catalogue, PUBLIC)
    with serving(catalogue) as server:
        stub = stub_of(server)
        assert state(stub)[0] == "UNAVAILABLE"
        assert "CC-BY-NC-4.0: non-commercial" in state(stub)[1]
        assert not stub.ModelReady(pb.ModelReadyRequest(name="sentiment")).ready
        assert server.repository.loaded() == []
        refusal(stub)
        assert server.repository.loaded() == []


def test_only_the_denied_model_is_refused(catalogue: Catalogue, stub_of: Stub) -> None:
    publish_toy(catalogue)
    nc = publish_backbone(catalogue, "nc", seed=5)
    publish_model(catalogue, "flowers", nc, ToyHead(seed=4))
    decide(catalogue, "CC-BY-NC-4.0", "nc")
    policy(catalogue, PUBLIC)
    with serving(catalogue) as server:
        stub = stub_of(server)
        assert (answers(stub, "sentiment"), answers(stub, "flowers")) == (True, False)


def test_what_is_refused_costs_no_queue(catalogue: Catalogue, stub_of: Stub) -> None:
    """Refused before anything is tokenised or queued."""
    publish_toy(catalogue)
    with serving(catalogue) as server:
        stub = stub_of(server)
        assert answers(stub)
        policy(catalogue, PUBLIC)
        decide(catalogue, "CC-BY-NC-4.0")
        until(lambda: not answers(stub))
        server.scheduler.hold(1000)
        refusal(stub)
        assert server.scheduler.statistics().queued_rows == 0
        server.scheduler.hold(0)


# ---------------------------------------------------------------------------------------------- no restart
def test_a_decision_takes_effect_without_a_restart_in_both_directions(catalogue: Catalogue, stub_of: Stub) -> None:
    publish_toy(catalogue)
    policy(catalogue, PUBLIC)
    with serving(catalogue) as server:
        stub = stub_of(server)
        assert answers(stub)
        decide(catalogue, "CC-BY-NC-4.0")
        until(lambda: not answers(stub))
        assert state(stub)[0] == "UNAVAILABLE"
        withdraw(catalogue, catalogue.newest("toy").subject, "it was wrong")
        until(lambda: answers(stub))
        assert state(stub)[0] == "READY"


def test_a_changed_policy_takes_effect_without_a_restart(catalogue: Catalogue, stub_of: Stub) -> None:
    publish_toy(catalogue)
    with serving(catalogue) as server:
        stub = stub_of(server)
        assert answers(stub)
        policy(catalogue, '[refuse]\nlicences = ["CC0-1.0"]\n')
        until(lambda: not answers(stub))
        policy(catalogue, "")
        until(lambda: answers(stub))


def test_a_bought_licence_takes_effect_when_its_record_comes_and_ends_when_it_goes(
    catalogue: Catalogue, stub_of: Stub
) -> None:
    """Records of the operator's own stand in HEADSTOCK_HOME; a server follows them as it does the policy."""
    publish_toy(catalogue)
    record = catalogue.settings.home / "licences" / "LicenseRef-bought-1.toml"
    record.parent.mkdir()
    text = 'id = "LicenseRef-bought-1"\nname = "Bought"\n[[documents]]\nrole = "agreement"\nsource = "order 7"\n'
    record.write_text(text)
    Policy.load(catalogue.settings)
    decide(catalogue, "LicenseRef-bought-1")
    policy(catalogue, PUBLIC + '[mode]\nunknown = "enforce"\n')
    with serving(catalogue) as server:
        stub = stub_of(server)
        assert answers(stub)
        record.write_text(text + '[[restrictions]]\nkind = "non-commercial"\n')
        until(lambda: not answers(stub))
        record.write_text(text)
        until(lambda: answers(stub))
        record.unlink()
        until(lambda: not answers(stub))


def buy(catalogue: Catalogue, last_day: date) -> None:
    """The licence of the backbone, bought until a day."""
    record = catalogue.settings.home / "licences" / "LicenseRef-bought-1.toml"
    record.parent.mkdir(exist_ok=True)
    record.write_text(
        'id = "LicenseRef-bought-1"\nname = "Bought"\n[[documents]]\nrole = "agreement"\nsource = "order 7"\n'
        f"[lifecycle]\nexpires = {last_day.isoformat()}\n"
    )
    Policy.load(catalogue.settings)
    decide(catalogue, "LicenseRef-bought-1")


def test_a_licence_ends_with_its_last_day_and_what_was_accepted_is_answered(
    catalogue: Catalogue, stub_of: Stub
) -> None:
    """Nobody touches the catalogue or a file: the day passes, and the server acts as it does on a revocation."""
    publish_toy(catalogue)
    last_day = today_utc() + timedelta(days=30)
    buy(catalogue, last_day)
    policy(catalogue, PUBLIC)
    with serving(catalogue) as server:
        stub = stub_of(server)
        assert answers(stub)
        server.repository.licences.today = lambda: last_day
        time.sleep(1.0)
        assert answers(stub)
        server.scheduler.hold(1000)
        accepted = [stub.ModelInfer.future(request()) for _ in range(3)]
        until(lambda: server.scheduler.statistics().queued_rows == 3)

        server.repository.licences.today = lambda: last_day + timedelta(days=1)

        until(lambda: state(stub)[0] == "UNAVAILABLE")
        error, _ = refusal(stub)
        assert f"the grant of LicenseRef-bought-1 ended on {last_day}" in str(error.details())
        server.scheduler.hold(0)
        assert [call.result().model_version for call in accepted] == ["1", "1", "1"]
        server.repository.licences.today = lambda: last_day
        until(lambda: answers(stub))


def test_a_day_on_which_nothing_ends_judges_nothing_again(catalogue: Catalogue, repository: Repository) -> None:
    """A large catalogue is not judged every midnight."""
    last_day = today_utc() + timedelta(days=30)
    buy(catalogue, last_day)
    publish_backbone(catalogue, "other", seed=5)
    until(lambda: repository.generation == catalogue.generation() and not repository.licences.is_stale())
    repository.licences.today = lambda: last_day
    assert not repository.licences.is_stale()
    repository.licences.today = lambda: last_day + timedelta(days=1)
    until(lambda: not repository.licences.is_stale())
    ruling = repository.licences.ruling(catalogue.newest("sentiment"))
    assert ruling is not None
    assert (ruling.value, ruling.until) == ("deny", None)
    repository.licences.today = lambda: last_day + timedelta(days=2)
    assert not repository.licences.is_stale()


def test_a_version_that_was_removed_and_collected_is_not_found(catalogue: Catalogue) -> None:
    """It was looked up a moment before it went."""
    publish_toy(catalogue)
    gate = LicenceGate(catalogue, "enforce")
    gone = catalogue.newest("sentiment")
    gate.refresh([])
    catalogue.remove("sentiment")
    catalogue.gc()
    with pytest.raises(NotFound, match="sentiment:1 was removed"):
        gate.check(gone)
    gate.refresh([gone])
    assert gate.ruling(gone) is None


def test_a_model_refused_at_the_start_is_loaded_when_it_may_be(catalogue: Catalogue, stub_of: Stub) -> None:
    publish_toy(catalogue)
    policy(catalogue, '[refuse]\nlicences = ["CC0-1.0"]\n')
    with serving(catalogue) as server:
        stub = stub_of(server)
        assert not answers(stub)
        (catalogue.settings.home / "policy.toml").unlink()
        until(lambda: answers(stub))


def test_a_revocation_answers_what_was_accepted(catalogue: Catalogue, stub_of: Stub) -> None:
    """Requests that passed the gate are answered; those after it are refused."""
    publish_toy(catalogue)
    with serving(catalogue) as server:
        stub = stub_of(server)
        assert answers(stub)
        server.scheduler.hold(1000)
        accepted = [stub.ModelInfer.future(request()) for _ in range(3)]
        until(lambda: server.scheduler.statistics().queued_rows == 3)
        policy(catalogue, '[refuse]\nlicences = ["CC0-1.0"]\n')
        until(lambda: state(stub)[0] == "UNAVAILABLE")
        refusal(stub)
        server.scheduler.hold(0)
        assert [call.result().model_version for call in accepted] == ["1", "1", "1"]


def test_a_promotion_to_a_denied_version_leaves_the_one_before_it(catalogue: Catalogue, stub_of: Stub) -> None:
    """Like one that cannot be loaded: not an outage."""
    toy = publish_toy(catalogue)
    catalogue.promote("sentiment", 1)
    nc = publish_backbone(catalogue, "nc", seed=5)
    decide(catalogue, "CC-BY-NC-4.0", "nc")
    policy(catalogue, PUBLIC)
    assert toy.models["sentiment"].number == 1
    publish_model(catalogue, "sentiment", nc, ToyHead(seed=9))
    with serving(catalogue) as server:
        stub = stub_of(server)
        catalogue.promote("sentiment", 2)
        until(lambda: server.repository.generation == catalogue.generation())
        assert stub.ModelInfer(request()).model_version == "1"
        with pytest.raises(grpc.RpcError, match="sentiment:2' is refused"):
            stub.ModelInfer(request(version="2"))


# ---------------------------------------------------------------------------------------------- duties on names
LLAMA = "LicenseRef-headstock-llama-3.2"


def test_a_name_that_the_licence_does_not_allow_is_refused_with_one_that_it_does(
    catalogue: Catalogue, stub_of: Stub
) -> None:
    """Serving third parties makes it available; the refusal says what to call it."""
    toy = publish_toy(catalogue)
    publish_model(catalogue, "llama-intents", toy.backbone, ToyHead(seed=9))
    decide(catalogue, LLAMA)
    policy(catalogue, PUBLIC)
    with serving(catalogue) as server:
        stub = stub_of(server)
        error, info = refusal(stub)
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "has a name that begins with 'Llama'; found 'sentiment'" in str(error.details())
        assert (info.reason, info.metadata["fix"]) == ("LICENCE_REFUSED", "publish it as llama-sentiment")
        assert answers(stub, "llama-intents")


def test_who_serves_only_himself_may_call_it_anything(catalogue: Catalogue, stub_of: Stub) -> None:
    publish_toy(catalogue)
    decide(catalogue, LLAMA)
    with serving(catalogue) as server:
        assert answers(stub_of(server))


@pytest.mark.parametrize("mode, text", [("warn", PUBLIC), ("enforce", PUBLIC + '[mode]\ndeny = "warn"\n')])
def test_a_wrong_name_is_only_warned_of_where_denials_are(
    catalogue: Catalogue, stub_of: Stub, mode: Mode, text: str
) -> None:
    publish_toy(catalogue)
    decide(catalogue, LLAMA)
    policy(catalogue, text)
    with serving(catalogue, mode) as server:
        _, call = stub_of(server).ModelInfer.with_call(request())
    assert "begins with 'Llama'" in dict(call.trailing_metadata())[WARNING]


# ---------------------------------------------------------------------------------------------- modes
def test_a_warning_is_in_the_trailing_metadata(catalogue: Catalogue, stub_of: Stub) -> None:
    publish_toy(catalogue)
    decide(catalogue, "CC-BY-NC-4.0")
    with serving(catalogue) as server:
        _, call = stub_of(server).ModelInfer.with_call(request())
    found = dict(call.trailing_metadata())[WARNING]
    assert found.startswith("serving 'sentiment:1': the licence verdict is unknown: backbone toy: CC-BY-NC-4.0")
    assert "proof sha256:" in found


def test_an_allowed_model_has_no_warning(catalogue: Catalogue, stub_of: Stub) -> None:
    publish_toy(catalogue)
    with serving(catalogue) as server:
        _, call = stub_of(server).ModelInfer.with_call(request())
    assert WARNING not in dict(call.trailing_metadata())


def test_a_stream_warns_once_of_each_model(catalogue: Catalogue, stub_of: Stub) -> None:
    publish_toy(catalogue)
    decide(catalogue, "CC-BY-NC-4.0")
    with serving(catalogue) as server:
        call = stub_of(server).ModelStreamInfer(iter([request(), request("intents"), request()]))
        assert [answer.error_message for answer in call] == ["", "", ""]
        warnings = [value for key, value in call.trailing_metadata() if key == WARNING]
    assert sorted(w.partition(":1'")[0] for w in warnings) == ["serving 'intents", "serving 'sentiment"]


def test_mode_warn_serves_what_is_denied_and_says_so(catalogue: Catalogue, stub_of: Stub) -> None:
    publish_toy(catalogue)
    decide(catalogue, "CC-BY-NC-4.0")
    policy(catalogue, PUBLIC)
    with serving(catalogue, "warn") as server:
        _, call = stub_of(server).ModelInfer.with_call(request())
    assert "the licence verdict is deny" in dict(call.trailing_metadata())[WARNING]


def test_mode_off_serves_in_silence_and_judges_nothing(
    catalogue: Catalogue, stub_of: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_toy(catalogue)
    decide(catalogue, "CC-BY-NC-4.0")
    policy(catalogue, "this is not TOML")

    def judge(*_: object) -> None:
        raise AssertionError("judged")

    monkeypatch.setattr(LicenceGate, "_judge", judge)
    with serving(catalogue, "off") as server:
        _, call = stub_of(server).ModelInfer.with_call(request())
    assert WARNING not in dict(call.trailing_metadata())


def test_strict_does_not_start_with_a_denied_model(catalogue: Catalogue) -> None:
    publish_toy(catalogue)
    decide(catalogue, "CC-BY-NC-4.0")
    policy(catalogue, PUBLIC)
    with pytest.raises(LicenceRefused), serving(catalogue, strict=True):
        pass


@pytest.mark.parametrize("mode", ["enforce", "off"])
def test_promoting_through_a_server_asks_as_the_command_does(catalogue: Catalogue, engine: Engine, mode: Mode) -> None:
    """Unless it was told not to ask."""
    toy = publish_toy(catalogue)
    decide(catalogue, "CC-BY-NC-4.0")
    policy(catalogue, PUBLIC)
    gate = Repository(catalogue, engine, licences=mode).licences
    if mode == "enforce":
        with pytest.raises(LicenceRefused, match="promoting 'sentiment:1' is refused"):
            gate.promote(toy.models["sentiment"], "production", "")
    else:
        gate.promote(toy.models["sentiment"], "production", "")
    assert catalogue.aliases("sentiment") == ({} if mode == "enforce" else {"production": 1})


# ---------------------------------------------------------------------------------------------- faults
def test_a_policy_that_makes_no_sense_stops_the_start(catalogue: Catalogue) -> None:
    publish_toy(catalogue)
    policy(catalogue, "purpose: commercial")
    with pytest.raises(InvalidInput, match=r"policy file 'policy\.toml' is not TOML"), serving(catalogue):
        pass


def test_a_policy_that_breaks_later_keeps_verdicts_and_admits_nothing_new(catalogue: Catalogue, stub_of: Stub) -> None:
    """Closed for what was never judged, until the file is whole again."""
    toy = publish_toy(catalogue)
    with serving(catalogue) as server:
        stub = stub_of(server)
        policy(catalogue, "purpose: commercial")
        publish_model(catalogue, "urgency", toy.backbone, ToyHead(seed=9))
        until(lambda: server.repository.generation == catalogue.generation())
        assert answers(stub)
        with pytest.raises(grpc.RpcError, match="has no licence verdict: the policy file") as caught:
            stub.ModelInfer(request("urgency"))
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        policy(catalogue, "")
        until(lambda: state(stub, "urgency")[0] == "READY" or answers(stub, "urgency"))


def test_a_model_published_while_serving_is_judged_before_its_first_answer(catalogue: Catalogue, stub_of: Stub) -> None:
    publish_toy(catalogue)
    policy(catalogue, PUBLIC)
    nc = publish_backbone(catalogue, "nc", seed=5)
    decide(catalogue, "CC-BY-NC-4.0", "nc")
    with serving(catalogue) as server:
        stub = stub_of(server)
        for number in range(3):
            publish_model(catalogue, f"new{number}", nc, ToyHead(seed=10 + number))
            assert not answers(stub, f"new{number}")


def test_the_model_configuration_carries_the_verdict_and_its_proof(catalogue: Catalogue, stub_of: Stub) -> None:
    """What `headstock licence why` says, without asking a person."""
    publish_toy(catalogue)
    decide(catalogue, "CC-BY-NC-4.0")
    with serving(catalogue) as server:
        config = stub_of(server).ModelConfig(pb.ModelConfigRequest(name="sentiment")).config
    found = {k: v.string_value for k, v in config.parameters.items()}
    made = verdict(catalogue, catalogue.newest("sentiment").subject)
    assert found["headstock.licence_verdict"] == made.value == "unknown"
    assert found["headstock.licence_reason"] == made.reason
    assert found["headstock.licence_proof"] == made.proof_id


# ---------------------------------------------------------------------------------------------- cost
def test_an_allowed_request_reads_one_attribute(catalogue: Catalogue, engine: Engine) -> None:
    """The bit is on the model that the request has resolved already: nothing is called and nothing is looked up."""
    publish_toy(catalogue)
    repository = Repository(catalogue, engine, poll_seconds=0.02)
    repository.start()
    repository.wait(30)
    try:
        model = repository.resolve("sentiment")
        assert model is not None
        assert model.caution is None
        ruling = repository.licences.ruling(model.version)
        assert ruling is not None
        assert ruling.value == "allow"
    finally:
        repository.close()


def test_moving_an_alias_judges_nothing_again(
    catalogue: Catalogue, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large catalogue is judged when evidence, lineage, decisions or the policy change, not at every promotion."""
    judged: list[int] = []
    inner = LicenceGate._judge
    monkeypatch.setattr(
        LicenceGate,
        "_judge",
        lambda self, *more: (judged.append(1), inner(self, *more))[1],
    )
    catalogue.promote("sentiment", 1)
    until(lambda: repository.generation == catalogue.generation())
    repository.refresh()
    assert judged == []
    decide(catalogue, "MIT")
    until(lambda: judged != [])


def test_models_of_different_verdicts_still_share_a_backbone_pass(catalogue: Catalogue, stub_of: Stub) -> None:
    """A warning belongs to a model, the pass to the backbone."""
    publish_toy(catalogue)
    head = catalogue.artefact(catalogue.newest("intents").subject).identity["head"]
    conclude(catalogue, head, "CC-BY-NC-4.0", "decided for the test")
    with serving(catalogue) as server:
        stub = stub_of(server)
        assert answers(stub, "sentiment") and answers(stub, "intents")  # noqa: PT018 - loads both
        before = server.scheduler.statistics()
        server.scheduler.hold(2)
        calls = [stub.ModelInfer.future(request(name)) for name in ("sentiment", "intents")]
        trailers = [dict(call.trailing_metadata()) for call in calls if call.result()]
        after = server.scheduler.statistics()
    assert [WARNING in trailer for trailer in trailers] == [False, True]
    passes = [sum(b.passes for b in s.backbones.values()) for s in (before, after)]
    assert passes[1] - passes[0] == 1


def test_the_answer_does_not_depend_on_the_mode(catalogue: Catalogue, stub_of: Stub) -> None:
    publish_toy(catalogue)
    found = []
    for mode in ("enforce", "off"):
        with serving(catalogue, mode) as server:  # type: ignore[arg-type]
            found.append(np.frombuffer(stub_of(server).ModelInfer(request()).raw_output_contents[0], np.float32))
    np.testing.assert_array_equal(*found)


def test_serving_asks_for_nothing_outside(catalogue: Catalogue, tmp_path: Path) -> None:
    """What makes verdicts imports no hub client and no HTTP library."""
    import subprocess
    import sys

    code = (
        "import sys, headstock.licences.enforcement, headstock_server.repository.licence_gate\n"
        "print([m for m in ('torch', 'huggingface_hub', 'httpx', 'requests', 'http.client') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"
