"""Everything at once: callers of every kind, an operator who changes everything, and no answer that is wrong.

HEADSTOCK_CHAOS sets for how many seconds (default 2); set, it also brings LoRA models and partly fine-tuned ones.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from tritonclient import grpc as triton

from headstock.catalogue import Catalogue
from headstock.licences.decisions import conclude, withdraw
from headstock.names import Reference
from headstock.oip import open_inference_grpc_pb2 as pb
from headstock.oip.open_inference_grpc_pb2_grpc import GRPCInferenceServiceStub
from headstock.predictor import Predictor
from headstock.settings import Settings
from headstock.testing.toy import POISON, ToyHead, publish_backbone, publish_model
from headstock.v1 import zoo_pb2
from headstock.v1.zoo_pb2_grpc import ZooStub
from headstock_client import Client, ClientError, RetryPolicy

SECONDS = float(os.environ.get("HEADSTOCK_CHAOS", "2"))
LONG = "HEADSTOCK_CHAOS" in os.environ
CALLERS = 6
FOLLOWED = 3.0
"""Seconds after which a server that is overloaded on purpose must have followed a promotion."""
TAGS = {"kind": "token-classification", "labels": ["O", "B-X", "I-X"]}
FILES = 14
"""Open files that come late: the catalogue keeps up to five connections, and opens each when it is first needed."""
GROWN = 96 << 20
"""Bytes that allocators, and sessions that come and go, may keep."""

WORDS = [f"w{n}" for n in range(100)]
TEXTS = ["great order", "", "please refund the late order", *(" ".join(WORDS[n : n + n]) for n in range(1, 50, 3))]
TEXTS += [" ".join(WORDS[:n]) for n in (60, 90, 99)] + [" ".join(WORDS) + " w1" * 60]
POISONED = f"great {POISON} order"

UNLOADED, LICENSED, THROWS, PASSING = "vectors", "licensed", "throws", "passing"
"""Which model the operator unloads now and then, whose licence goes and comes, whose head throws, and which is removed
from the catalogue and published again."""


@dataclass
class Zoo:
    """A catalogue for a server, and what each version answers alone."""

    settings: Settings
    catalogue: Catalogue
    models: list[str]
    alone: dict[tuple[str, int], Predictor] = field(default_factory=dict)
    answers: dict[tuple[str, int, str], dict[str, Any]] = field(default_factory=dict)

    def answer(self, model: str, version: int, text: str) -> dict[str, Any]:
        """What the model says to the text without any server and without company."""
        key = (model, version, text)
        if key not in self.answers:
            if key[:2] not in self.alone:
                self.alone[key[:2]] = Predictor.open(self.catalogue, Reference(model, str(version)))
            self.answers[key] = dict(self.alone[key[:2]].predict([text]).outputs)
        return self.answers[key]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zoo]:
    home: Path = tmp_path_factory.mktemp("chaos")
    settings = Settings.from_environment({**os.environ, "HEADSTOCK_HOME": str(home), "HEADSTOCK_ACTOR": "tester"})
    with Catalogue.open(settings) as catalogue:
        toy, nc = publish_backbone(catalogue), publish_backbone(catalogue, "nc", seed=5, width=8)
        leaky = publish_backbone(catalogue, "leaky", seed=6, leaky=True)
        for seed in range(1, 5):
            publish_model(catalogue, "sentiment", toy, ToyHead(seed=seed))
        catalogue.promote("sentiment", 1)
        catalogue.promote("sentiment", 4, "canary")
        heads = {
            "intents": ToyHead(labels=("refund", "delivery", "other"), seed=11),
            UNLOADED: ToyHead(labels=(), out=4, seed=12),
            "tagger": ToyHead(tap="tokens", out=3, seed=13, postprocess=TAGS),
            "graph": ToyHead(seed=14, form="graph"),
            THROWS: ToyHead(seed=15, form="throwing"),
        }
        for name, head in heads.items():
            publish_model(catalogue, name, toy, head)
        publish_model(catalogue, LICENSED, nc, ToyHead(seed=21))
        publish_model(catalogue, "private", leaky, ToyHead(seed=31))
        (home / "policy.toml").write_text('[context]\npurpose = "commercial"\naudience = "public"\n')
        made = Zoo(settings, catalogue, ["sentiment", *heads, LICENSED, "private", PASSING])
        if LONG:
            made.models += _tiny(catalogue, settings, tmp_path_factory.mktemp("tiny"))
        yield made


def _tiny(catalogue: Catalogue, settings: Settings, home: Path) -> list[str]:
    """Models on a tiny BERT: a head, two partly fine-tuned ones, and two of adapters."""
    from click.testing import CliRunner

    from headstock.backbone.pull import pull
    from headstock.cli.main import cli
    from headstock.plugin_host import open_host
    from headstock.testing.tiny import make_tiny_bert

    pull(catalogue, open_host(settings), f"path:{make_tiny_bert(home / 'source', layers=3)}", "tiny")
    lines = [f"{word} order {n},{kind}" for n in range(12) for kind, word in (("good", "great"), ("bad", "awful"))]
    (home / "data.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    quick = ["--epochs", "2", "--backbone-epochs", "2", "--patience", "0", "--batch-size", "8", "--report", "none"]
    made = []
    for seed, strategy in enumerate(["feature-extraction", "last-1", "last-1", "lora", "lora"]):
        name = f"tiny-{seed}"
        arguments = ["fine-tune", "--backbone", "tiny", "--head", "text-classification", "--strategy", strategy]
        result = CliRunner(env={"HEADSTOCK_HOME": str(settings.home), "HEADSTOCK_ACTOR": "tester"}).invoke(
            cli, [*arguments, "--data", str(home / "data.csv"), "--name", name, "--seed", str(seed), *quick]
        )
        assert result.exit_code == 0, result.output
        made.append(name)
    return made


@contextmanager
def serving(zoo: Zoo, log: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """A server process with its gRPC and HTTP addresses."""
    line = [sys.executable, "-m", "headstock_server", "--bind", "127.0.0.1:0", "--http", "127.0.0.1:0", "--allow-admin"]
    line += ["--tenants", "acme,globex", *arguments]
    environment = {**os.environ, "HEADSTOCK_HOME": str(zoo.settings.home), "HEADSTOCK_ACTOR": "tester"}
    with log.open("w") as errors:
        process = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, cwd="/")
        try:
            assert process.stdout is not None
            addresses = [process.stdout.readline().split()[-1] for _ in range(2)]
            yield process, addresses[0].removeprefix("listening on "), addresses[1].removeprefix("http://")
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()


# ------------------------------------------------------------------------------------------- callers
@dataclass
class Call:
    """One request and all that came of it."""

    model: str
    selector: str
    texts: list[str]
    kind: str
    sent: float
    ended: float = 0.0
    code: str = ""
    details: str = ""
    version: str = ""
    outputs: dict[str, Any] = field(default_factory=dict)
    hit: bool = False

    def failed(self, error: grpc.RpcError | grpc.Future) -> None:
        """The status of a call that got no answer."""
        self.code, self.details = error.code().name, error.details() or ""

    def answered(self, response: pb.ModelInferResponse) -> None:
        """Decode an answer, whose id must be the request's."""
        self.code, self.version = "OK", response.model_version
        assert response.model_name == self.model
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
            self.outputs[output.name] = _decoded(output.datatype, list(output.shape), raw)
        self.hit = "response_cache" in response.parameters


def _decoded(datatype: str, shape: list[int], raw: bytes) -> Any:
    if datatype != "BYTES":
        return np.frombuffer(raw, {"FP32": "<f4", "INT64": "<i8"}[datatype]).reshape(shape)
    elements, at = [], 0
    while at < len(raw):
        size = int.from_bytes(raw[at : at + 4], "little")
        elements.append(raw[at + 4 : at + 4 + size])
        at += 4 + size
    return np.array(elements, object).reshape(shape)


def _message(call: Call, dice: random.Random) -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name=call.model, model_version=call.selector, id=str(dice.random()))
    message.inputs.add(name="text", datatype="BYTES", shape=[len(call.texts)])
    raw = b"".join(len(t.encode()).to_bytes(4, "little") + t.encode() for t in call.texts)
    message.raw_input_contents.append(raw)
    if dice.random() < 0.3:
        message.parameters["priority"].int64_param = dice.randrange(5)
    return message


class Caller(threading.Thread):
    """Sends one request after the other, of every kind, until told to stop; `calls` remembers them all."""

    def __init__(self, zoo: Zoo, grpc_address: str, http_address: str, seed: int) -> None:
        super().__init__(name=f"caller-{seed}")
        self.dice = random.Random(seed)
        self.stop = threading.Event()
        self.calls: list[Call] = []
        self.wrong: list[str] = []
        self._zoo = zoo
        self._address, self._http = grpc_address, http_address
        self._tenant = (("headstock-tenant", self.dice.choice(["acme", "globex", "nobody"])),)

    def run(self) -> None:
        kinds = {
            self._plain: 10,
            self._hurried: 3,
            self._cancelled: 3,
            self._poisoned: 2,
            self._streamed: 2,
            self._over_http: 2,
            self._by_triton: 1,
            self._by_our_client: 1,
            self._oversized: 1,
            self._malformed: 1,
        }
        with (
            grpc.insecure_channel(self._address) as channel,
            triton.InferenceServerClient(self._address) as self._triton,
            Client(self._address, retry=RetryPolicy(attempts=1), tenant="acme", deadline=30) as self._client,
        ):
            self._channel, self._stub = channel, GRPCInferenceServiceStub(channel)
            while not self.stop.is_set():
                (ask,) = self.dice.choices(list(kinds), list(kinds.values()))
                try:
                    ask()
                except Exception as error:
                    self.wrong.append(f"{ask.__name__}: {type(error).__name__}: {error}")

    def _call(self, kind: str, texts: Sequence[str] = ()) -> Call:
        model = self.dice.choice(self._zoo.models)
        selector = self.dice.choice(["", "", "", "production", "canary", "2", "4"]) if model == "sentiment" else ""
        # Few texts, so that equal rows meet in a pass and in the cache.
        texts = texts or self.dice.choices(TEXTS, k=self.dice.choice([1, 1, 1, 2, 5]))
        call = Call(model, selector, list(texts), kind, time.monotonic())
        self.calls.append(call)
        return call

    def _unary(self, call: Call, timeout: float = 30.0) -> None:
        message = _message(call, self.dice)
        try:
            response = self._stub.ModelInfer(message, timeout=timeout, metadata=self._tenant)
        except grpc.RpcError as error:
            call.failed(error)
        else:
            call.answered(response)
            assert response.id == message.id
        call.ended = time.monotonic()

    def _plain(self) -> None:
        self._unary(self._call("plain"))

    def _hurried(self) -> None:
        self._unary(self._call("hurried"), timeout=self.dice.uniform(0.002, 0.06))

    def _poisoned(self) -> None:
        texts = [*self.dice.choices(TEXTS, k=self.dice.randrange(3)), POISONED]
        self._unary(self._call("poisoned", self.dice.sample(texts, len(texts))))

    def _oversized(self) -> None:
        self._unary(self._call("oversized", ["great"] * 1025))

    def _cancelled(self) -> None:
        call = self._call("cancelled")
        future = self._stub.ModelInfer.future(_message(call, self.dice), timeout=30, metadata=self._tenant)
        time.sleep(self.dice.uniform(0, 0.02))
        future.cancel()
        if future.cancelled():
            call.code = "CANCELLED"
        elif future.code() is grpc.StatusCode.OK:
            call.answered(future.result())
        else:
            call.failed(future)
        call.ended = time.monotonic()

    def _malformed(self) -> None:
        call = self._call("malformed", ["great"])
        data = bytearray(_message(call, self.dice).SerializeToString())
        data = data[: self.dice.randrange(len(data))]
        try:
            self._channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(bytes(data), timeout=30)
        except grpc.RpcError as error:
            call.failed(error)
        call.ended = time.monotonic()

    def _streamed(self) -> None:
        calls = [self._call("streamed") for _ in range(self.dice.randrange(1, 8))]
        messages = [_message(call, self.dice) for call in calls]
        try:
            answers = list(self._stub.ModelStreamInfer(iter(messages), timeout=30, metadata=self._tenant))
            assert len(answers) == len(calls)
            for call, message, answer in zip(calls, messages, answers, strict=True):
                assert answer.infer_response.id == message.id
                if answer.error_message:
                    call.code, call.details = "STREAMED", answer.error_message
                else:
                    call.answered(answer.infer_response)
        except grpc.RpcError as error:
            for call in calls:
                call.failed(error)
        for call in calls:
            call.ended = time.monotonic()

    def _over_http(self) -> None:
        call = self._call("http")
        body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [len(call.texts)], "data": call.texts}]}
        connection = http.client.HTTPConnection(self._http, timeout=30)
        path = f"/v2/models/{call.model}" + (f"/versions/{call.selector}" if call.selector else "")
        try:
            connection.request("POST", f"{path}/infer", json.dumps(body))
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException) as error:
            call.code, call.details = "UNAVAILABLE", type(error).__name__
        else:
            call.code, call.details = (
                {200: "OK", 500: "INTERNAL"}.get(response.status, "HTTP"),
                str(answer.get("error")),
            )
            call.version = answer.get("model_version", "")
            call.hit = "response_cache" in answer.get("parameters", {})
            for output in answer.get("outputs", ()):
                values = [v.encode() if isinstance(v, str) else v for v in output["data"]]
                array = np.array(values, object if output["datatype"] == "BYTES" else None)
                call.outputs[output["name"]] = array.reshape(output["shape"])
        finally:
            connection.close()
        call.ended = time.monotonic()

    def _by_triton(self) -> None:
        call = self._call("triton")
        text = triton.InferInput("text", [len(call.texts)], "BYTES")
        text.set_data_from_numpy(np.array([t.encode() for t in call.texts], dtype=object))
        try:
            call.answered(self._triton.infer(call.model, [text], call.selector, client_timeout=30).get_response())
        except triton.InferenceServerException as error:
            call.code, call.details = str(error.status()).removeprefix("StatusCode."), error.message()
        call.ended = time.monotonic()

    def _by_our_client(self) -> None:
        call = self._call("client")
        try:
            result = self._client.infer(call.model, {"text": call.texts}, version=call.selector)
        except ClientError as error:
            call.code, call.details = error.code.name if hasattr(error.code, "name") else str(error.code), str(error)
        else:
            call.code, call.version, call.outputs = "OK", result.model_version, dict(result.outputs)
            call.outputs = {n: v for n, v in call.outputs.items() if getattr(v, "dtype", None) == np.float32}
        call.ended = time.monotonic()


# ------------------------------------------------------------------------------------------- the operator
@dataclass
class Operator:
    """Changes whatever may be changed while requests run."""

    zoo: Zoo
    address: str
    dice: random.Random
    moves: list[tuple[float, float, int]] = field(default_factory=lambda: [(0.0, 0.0, 1)])
    """Of the alias production: before and after the call that moved it, and the version."""
    published: int = 0

    def work(self, until: float) -> None:
        """Do one thing after the other."""
        actions = [self.promote, self.promote, self.roll_back, self.unload, self.licence, self.publish, self.collect]
        actions += [self.come_and_go, self.come_and_go]
        with grpc.insecure_channel(self.address) as channel:
            self.admin, self.stub = ZooStub(channel), GRPCInferenceServiceStub(channel)
            while time.monotonic() < until:
                self.dice.choice([*actions, self.look])()
                time.sleep(self.dice.uniform(0.0, 0.15))
            self.admin.Load(zoo_pb2.LoadRequest(name=UNLOADED), timeout=30)
            with suppress(Exception):
                withdraw(self.zoo.catalogue, self.zoo.catalogue.newest("nc").subject, "the test ends")

    def promote(self) -> None:
        """Production points at 1, 2 or 3; version 4 is never promoted."""
        number = self.dice.randrange(1, 4)
        before = time.monotonic()
        if self.dice.random() < 0.5:
            self.admin.Promote(zoo_pb2.PromoteRequest(name="sentiment", version=str(number)), timeout=30)
        else:
            self.zoo.catalogue.promote("sentiment", number)
        self.moves.append((before, time.monotonic(), number))

    def roll_back(self) -> None:
        """One step, if there is one."""
        before = time.monotonic()
        with suppress(grpc.RpcError):
            self.admin.Rollback(zoo_pb2.RollbackRequest(name="sentiment"), timeout=30)
            self.moves.append((before, time.monotonic(), self.zoo.catalogue.aliases("sentiment")["production"]))

    def unload(self) -> None:
        """And load again, or not yet."""
        self.admin.Unload(zoo_pb2.UnloadRequest(name=UNLOADED), timeout=30)
        if self.dice.random() < 0.7:
            self.admin.Load(zoo_pb2.LoadRequest(name=UNLOADED), timeout=30)

    def licence(self) -> None:
        """What a backbone may be used for changes, and changes back."""
        subject = self.zoo.catalogue.newest("nc").subject
        if self.dice.random() < 0.5:
            conclude(self.zoo.catalogue, subject, "CC-BY-NC-4.0", "for the test")
        else:
            with suppress(Exception):
                withdraw(self.zoo.catalogue, subject, "for the test")

    def publish(self) -> None:
        """A new head takes over by being the newest: no alias holds its name."""
        if self.published < 20:
            self.published += 1
            head = ToyHead(labels=("refund", "delivery", "other"), seed=100 + self.published)
            publish_model(self.zoo.catalogue, "intents", self.zoo.catalogue.newest("toy"), head)

    def come_and_go(self) -> None:
        """A model that is removed under its callers, files and all, and comes back as another version."""
        catalogue = self.zoo.catalogue
        if catalogue.versions(PASSING):
            catalogue.remove(PASSING)
            catalogue.gc()
            return
        self.published += 1
        made = publish_model(catalogue, PASSING, catalogue.newest("toy"), ToyHead(seed=200 + self.dice.randrange(1000)))
        for text in TEXTS:
            self.zoo.answer(PASSING, made.number, text)

    def collect(self) -> None:
        """What nobody needs goes; a server reads it meanwhile."""
        self.zoo.catalogue.gc()

    def look(self) -> None:
        """Everything that only reads."""
        self.stub.RepositoryIndex(pb.RepositoryIndexRequest(), timeout=30)
        self.stub.ModelStatistics(pb.ModelStatisticsRequest(), timeout=30)
        self.stub.ModelMetadata(pb.ModelMetadataRequest(name="intents"), timeout=30)
        self.admin.List(zoo_pb2.ListRequest(), timeout=30)


# ------------------------------------------------------------------------------------------- what must hold
ALWAYS = {"OK", "RESOURCE_EXHAUSTED"}


def _allowed(call: Call, stopped: float) -> bool:
    """Whether the call may have ended so; `stopped` is when the server was told to stop."""
    codes = set(ALWAYS)
    if call.kind == "hurried":
        codes.add("DEADLINE_EXCEEDED")
    if call.kind == "cancelled":
        codes.add("CANCELLED")
    if call.model == LICENSED:
        codes.add("PERMISSION_DENIED")
    if call.model == UNLOADED:
        codes.add("FAILED_PRECONDITION")
    if call.model == THROWS:
        codes.add("INTERNAL")
    if call.model == PASSING:
        codes.add("NOT_FOUND")
    if call.kind in ("poisoned", "malformed"):
        codes |= {"INVALID_ARGUMENT", "NOT_FOUND"}
    if call.kind == "poisoned" and not call.model.startswith("tiny"):
        codes -= {"OK"}
    if call.kind == "oversized":
        codes -= {"OK"}
    if call.ended > stopped and (call.sent > stopped or "stopping" in call.details):
        # gRPC cancels what arrives while the port closes; what came before the signal is answered or told why not.
        codes |= {"UNAVAILABLE", "CANCELLED"}
    if call.code in ("STREAMED", "HTTP"):
        expected = (
            "unloaded",
            "licence",
            "queue is full",
            "the server is stopping",
            "memory budget",
            "no room",
            "no entry",
            "the head failed",
        )
        return call.model == THROWS or any(text in call.details for text in expected)
    return call.code in codes


def _serving(call: Call, moves: list[tuple[float, float, int]], version: int) -> bool:
    """Whether that version was what the call's selector meant at some moment between sending and answer."""
    if call.model != "sentiment":
        return True
    if call.selector not in ("", "production"):
        return version == (4 if call.selector == "canary" else int(call.selector))
    ends = [after + FOLLOWED for _, after, _ in moves[1:]] + [float("inf")]
    return any(
        number == version and before <= call.ended and call.sent <= end
        for (before, _, number), end in zip(moves, ends, strict=True)
    )


def _same(output: str, found: Any, alone: Any) -> bool:
    """One row of an output against the row's own answer; behind a row's own positions there are zeros."""
    if output == "entities":
        spans = [[(s["label"], s["start"], s["end"]) for s in json.loads(entities)] for entities in (found, alone)]
        return spans[0] == spans[1]
    if isinstance(alone, bytes | str):
        return found == (alone if isinstance(alone, bytes) else alone.encode())
    found, alone = np.asarray(found), np.asarray(alone)
    if found.ndim == 2 and len(found) > len(alone):
        if found[len(alone) :].any():
            return False
        found = found[: len(alone)]
    return found.shape == alone.shape and bool(np.allclose(found, alone, atol=1e-5, rtol=0))


def check(zoo: Zoo, calls: list[Call], moves: list[tuple[float, float, int]], stopped: float = float("inf")) -> None:
    """Every call ended as it may, and every answer is the one that its version gives alone."""
    wrong = [call for call in calls if not (call.ended and _allowed(call, stopped))]
    told = [(c.kind, c.model, c.selector, c.code, c.details, len(c.texts)) for c in wrong]
    assert told == []
    for call in calls:
        if call.code != "OK" or call.kind == "malformed":
            continue
        assert _serving(call, moves, int(call.version)), (call.kind, call.selector, call.version, call.sent, moves)
        assert call.outputs, call
        for row, text in enumerate(call.texts):
            alone = zoo.answer(call.model, int(call.version), text)
            for output, values in call.outputs.items():
                assert len(values) == len(call.texts)
                assert _same(output, values[row], alone[output][0]), (call, row, output, values[row], alone[output][0])


def check_statistics(stub: GRPCInferenceServiceStub, calls: list[Call]) -> None:
    """Rows and requests are charged once: to their version, and to the backbone that computed them."""
    rows = stub.ModelStatistics(pb.ModelStatisticsRequest(), timeout=30).model_stats
    models = [row for row in rows if not row.name.startswith("backbone:")]
    backbones = [row for row in rows if row.name.startswith("backbone:")]
    assert sum(m.inference_count for m in models) == sum(b.inference_count for b in backbones)
    answered = Counter((c.model, c.version) for c in calls if c.code == "OK")
    computed: Counter[tuple[str, str]] = Counter()
    for call in calls:
        if call.code == "OK" and not call.hit and call.kind not in ("client",):
            computed[call.model, call.version] += len(call.texts)
    lost = Counter(c.model for c in calls if c.code in ("CANCELLED", "DEADLINE_EXCEEDED"))
    for model in models:
        key = (model.name, model.version)
        success = model.inference_stats.success.count
        assert answered[key] <= success <= answered[key] + lost[model.name], (key, answered[key], success)
        hits = sum(c.hit for c in calls if (c.model, c.version) == key)
        if not model.inference_stats.cache_hit.count and not hits:
            assert model.inference_count >= computed[key], (key, computed[key], model.inference_count)


def _start(zoo: Zoo, address: str, http_address: str, seed: int) -> list[Caller]:
    callers = [Caller(zoo, address, http_address, seed + n) for n in range(CALLERS)]
    for caller in callers:
        caller.start()
    return callers


def _stop(callers: list[Caller]) -> list[Call]:
    for caller in callers:
        caller.stop.set()
    for caller in callers:
        caller.join(60)
        assert not caller.is_alive(), "a call hangs"
    assert not [text for caller in callers for text in caller.wrong]
    return [call for caller in callers for call in caller.calls]


def _is_described(stub: GRPCInferenceServiceStub, model: str) -> bool:
    """Loads it if need be; false while the server has not followed the last decision on its licence."""
    try:
        stub.ModelMetadata(pb.ModelMetadataRequest(name=model), timeout=20)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.PERMISSION_DENIED:
            return False
        raise
    return True


def _until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


SERVERS = {
    "little memory": ["--memory-budget", "200M" if LONG else "100M"],
    "cache": ["--response-cache", "1M", "--runners", "2", "--max-delay-ms", "2"],
    **(
        {"front ends": ["--front-ends", "2"], "small queue": ["--max-queue-rows", "20", "--token-budget", "64"]}
        if LONG
        else {}
    ),
}


@pytest.mark.parametrize("arguments", SERVERS.values(), ids=list(SERVERS))
def test_whatever_happens_every_answer_is_right_and_nothing_is_left_behind(
    zoo: Zoo, tmp_path: Path, arguments: list[str]
) -> None:
    log = tmp_path / "log"
    seed = int(os.environ.get("HEADSTOCK_CHAOS_SEED", "1"))
    with serving(zoo, log, *arguments) as (process, address, http_address):
        operator = Operator(zoo, address, random.Random(seed))
        operator.moves = [(0.0, 0.0, zoo.catalogue.aliases("sentiment")["production"])]
        with grpc.insecure_channel(address) as channel:
            stub = GRPCInferenceServiceStub(channel)
            early = _start(zoo, address, http_address, seed)
            time.sleep(min(1.0, SECONDS / 4))
            calls = _stop(early)
            server = psutil.Process(process.pid)
            _until(lambda: len(server.net_connections()) <= 4, "connections stay")
            files, memory = server.num_fds(), server.memory_info().rss
            callers = _start(zoo, address, http_address, seed + 1000)
            operator.work(time.monotonic() + SECONDS)
            calls += _stop(callers)
            check(zoo, calls, operator.moves)
            check_statistics(stub, calls)
            assert Counter(c.code for c in calls)["OK"] > len(calls) / 4
            reports = ZooStub(channel).BackboneStatistics(zoo_pb2.BackboneStatisticsRequest()).backbones
            assert not any(report.queued_rows for report in reports)
            # Whatever was left loading or in flight would be in the way of the next that needs its room.
            for model in [name for name in zoo.models if name != PASSING] * 2:
                _until(lambda name=model: _is_described(stub, name), f"{model} does not come back")
            _until(lambda: len(server.net_connections()) <= 4, "connections stay")
            assert server.num_fds() <= files + FILES
            assert server.memory_info().rss <= memory + GROWN
        callers = _start(zoo, address, http_address, seed + 2000)
        time.sleep(0.5)
        stopped = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
        check(zoo, _stop(callers), operator.moves, stopped)
    written = log.read_text()
    for told in ("a runner stopped", "ended in a bug", "answers failed", "never retrieved", "could not be followed"):
        assert told not in written
