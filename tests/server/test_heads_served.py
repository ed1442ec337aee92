"""Every kind of head on the wire: typed answers, places in texts, rows of different lengths; no plugin code."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from headstock.catalogue import Catalogue
from headstock.errors import HeadstockError, Unsupported
from headstock.servable import load_model
from headstock.settings import Settings
from headstock.testing.toy import MAX_LENGTH, POISON, ToyHead, publish_toy
from headstock_client import Client, ClientError
from headstock_server.app import Running, ServeOptions
from headstock_server.engine import Engine, EngineOptions, LoadedModel
from headstock_server.repository import Repository
from headstock_server.scheduler import Scheduler, Ticket
from headstock_server.testing import background_server

TAGS = ("O", "B-X", "I-X", "B-Y", "I-Y")
TAGGING = {"kind": "token-classification", "labels": list(TAGS)}
MODELS = {
    "tagger": ToyHead(tap="tokens", out=5, seed=1, postprocess=TAGGING),
    "tagger-graph": ToyHead(tap="tokens", out=5, seed=1, form="graph", postprocess=TAGGING),
    "reader": ToyHead(tap="tokens", out=2, seed=2, postprocess={"kind": "answer", "most_tokens": 4}),
    "speech": ToyHead(tap="tokens", out=4, seed=3, postprocess={"kind": "transcript", "alphabet": ["a", "b", " "]}),
    "topics": ToyHead(out=3, seed=4, postprocess={"kind": "multi-label", "labels": ["p", "q", "r"], "threshold": 0.5}),
    "price": ToyHead(out=1, seed=5, postprocess={"kind": "regression", "unit": "EUR"}),
    "sentiment": ToyHead(seed=6),
}
TEXT = "Please refund my late order, the invoice  is bad"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = Settings.from_environment({"HEADSTOCK_HOME": str(tmp_path_factory.mktemp("heads"))})
    with Catalogue.open(settings) as catalogue:
        publish_toy(catalogue, MODELS)
    return settings


@pytest.fixture(scope="module")
def server(home: Settings) -> Iterator[Running]:
    with background_server(home, ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=256))) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[Client]:
    with Client(server.address) as opened:
        yield opened


# ---------------------------------------------------------------------------------------------- places in texts
def test_a_tagger_answers_spans_of_characters_beside_its_logits(client: Client) -> None:
    """Spans are what the logits say, by the rule of the documentation; offsets count characters of the text sent."""
    outputs = client.infer("tagger", {"text": [TEXT, "ü good"]}).outputs
    assert outputs["logits"].shape == (2, int(outputs["lengths"].max()), len(TAGS))
    # [CLS], nine words and a comma, [SEP].
    assert outputs["lengths"].tolist() == [12, 4]
    words = ["Please", "refund", "my", "late", "order", ",", "the", "invoice", "is", "bad"]
    chosen = [TAGS[i] for i in outputs["logits"][0, 1:11].argmax(axis=1)]
    found = json.loads(outputs["entities"][0])
    marked = [w for span in found for w in TEXT[span["start"] : span["end"]].replace(",", " ,").split()]
    assert marked == [word for word, tag in zip(words, chosen, strict=True) if tag != "O"]
    assert marked
    for text, answer in zip((TEXT, "ü good"), outputs["entities"], strict=True):
        for span in json.loads(answer):
            assert span["text"] == text[span["start"] : span["end"]]
            assert 0 < span["score"] <= 1


def test_a_tagger_takes_texts_only(client: Client) -> None:
    """Token ids do not say where in the text they stand; the metadata does not offer them."""
    names = [i.name for i in client.metadata("tagger").inputs]
    assert names == ["text"]
    assert [i.name for i in client.metadata("sentiment").inputs] == ["text", "input_ids", "attention_mask"]
    ids = np.array([[2, 5, 3]])
    with pytest.raises(ClientError, match="expected 'text' BYTES"):
        client.infer("tagger", {"input_ids": ids, "attention_mask": np.ones_like(ids)})


def test_a_reader_takes_a_question_and_a_context_and_answers_with_a_stretch_of_it(client: Client) -> None:
    context = "the invoice is late, where is my refund"
    assert [i.name for i in client.metadata("reader").inputs] == ["question", "context"]
    outputs = client.infer("reader", {"context": [context] * 2, "question": ["where is it", "is it bad"]}).outputs
    for i in range(2):
        answer = outputs["answer"][i].decode()
        start, end = int(outputs["start"][i]), int(outputs["end"][i])
        assert answer == (context[start:end] if start >= 0 else "")
        assert len(answer.replace(",", " ,").split()) <= 4
        assert 0 < outputs["score"][i] <= 1
    assert outputs["lengths"].tolist() == [3 + 3 + 9, 3 + 3 + 9]


@pytest.mark.parametrize(
    "inputs, message",
    [
        ({"text": ["a"]}, "expected 'question' BYTES and 'context' BYTES"),
        ({"question": ["a"]}, "expected 'question' BYTES and 'context' BYTES"),
        ({"question": ["a", "b"], "context": ["c"]}, "2 questions and 1 contexts"),
        ({"question": ["late " * 200], "context": ["c"]}, "question 0 has 128 tokens or more"),
    ],
)
def test_half_a_question_is_refused(client: Client, inputs: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ClientError, match=message):
        client.infer("reader", inputs)


def test_a_context_too_long_loses_its_end_and_says_so(client: Client) -> None:
    result = client.infer("reader", {"question": ["where"], "context": ["late " * 500]})
    assert result.outputs["lengths"].tolist() == [MAX_LENGTH]
    assert result.truncated_rows == 1


# ---------------------------------------------------------------------------------------------- other kinds
def test_a_transcript_is_text_with_the_logits_of_every_position(client: Client) -> None:
    outputs = client.infer("speech", {"text": ["late order", "bad"]}).outputs
    best = outputs["logits"][0].argmax(axis=1).tolist()
    kept = [i for i, before in zip(best, [None, *best], strict=False) if i != before and i != 3]
    assert outputs["text"][0].decode() == "".join("ab "[i] for i in kept).strip()
    assert outputs["lengths"].tolist() == [4, 3]
    assert not outputs["logits"][1, 3:].any()
    labels = client.infer("speech", {"text": ["late"]}, ["logits"]).outputs["logits"]
    assert labels.shape == (1, 3, 4)


def test_label_sets_and_numbers_are_typed_answers(client: Client) -> None:
    outputs = client.infer("topics", {"text": [TEXT, "good"]}).outputs
    for row, names in zip(outputs["probabilities"], outputs["labels"], strict=True):
        assert set(json.loads(names)) == {n for n, p in zip("pqr", row, strict=True) if p > 0.5}
    assert client.infer("price", {"text": [TEXT, "good"]}).outputs["value"].shape == (2,)
    spec = {o.name: (o.datatype, tuple(o.shape)) for o in client.metadata("topics").outputs}
    assert spec == {"logits": ("FP32", (-1, 3)), "probabilities": ("FP32", (-1, 3)), "labels": ("BYTES", (-1,))}


def test_a_row_answers_the_same_alone_and_beside_a_longer_one(client: Client) -> None:
    """Logits bit for bit, spans letter for letter; what differs is only how far the answer is padded."""
    alone = client.infer("tagger", {"text": ["bad order"]}).outputs
    both = client.infer("tagger", {"text": ["bad order", TEXT]}).outputs
    assert alone["entities"][0] == both["entities"][0]
    assert alone["logits"][0].tobytes() == both["logits"][0, :4].tobytes()
    assert not both["logits"][0, 4:].any()


# ---------------------------------------------------------------------------------------------- in one pass
class Together:
    """Submits one-row requests that are forced into one pass."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._done = threading.Semaphore(0)
        self.scheduler = Scheduler(lambda tickets: self._done.release(len(tickets)))

    def __call__(self, requests: Sequence[tuple[str, str]]) -> list[object]:
        tickets = []
        for name, text in requests:
            model: LoadedModel | None = self._repository.resolve(name)
            assert model is not None
            tickets.append(Ticket(model, model.backbone.preprocessor.rows([text])))
        self.scheduler.hold(len(tickets))
        for ticket in tickets:
            self.scheduler.submit(ticket)
        for _ in tickets:
            assert self._done.acquire(timeout=10)
        return [ticket.result for ticket in tickets]


@pytest.fixture(scope="module")
def together(home: Settings) -> Iterator[Together]:
    with Catalogue.open(home) as catalogue:
        # A waste bound of 1 lets the most hostile lengths share a pass, which the real policy keeps apart.
        repository = Repository(catalogue, Engine(EngineOptions(token_budget=1 << 20, padding_waste=1.0)))
        repository.start()
        repository.wait(30)
        found = Together(repository)
        yield found
        found.scheduler.close()
        repository.close()


@pytest.mark.parametrize("name", ["tagger", "tagger-graph", "speech"])
def test_a_rows_positions_have_the_same_bits_alone_and_in_any_company(together: Together, name: str) -> None:
    """Neighbours of every length and head, one that is not finite among them; padding never reaches the head."""
    (alone,) = together([(name, TEXT)])
    assert isinstance(alone, list)
    assert alone[0].shape == (12, MODELS[name].out)
    random = np.random.default_rng(7)
    texts = ["w1", " ".join(["w2"] * MAX_LENGTH), "zzz qqq", POISON, "good bad late"]
    names = [n for n in MODELS if n != "reader"]
    for size in (2, 3, 5, 8, 13, 21, 32):
        requests = [(names[random.integers(len(names))], texts[random.integers(len(texts))]) for _ in range(size - 1)]
        slot = int(random.integers(size))
        requests.insert(slot, (name, TEXT))
        results = together(requests)
        row = results[slot]
        assert isinstance(row, list)
        assert row[0].tobytes() == alone[0].tobytes(), (size, slot)
        for (_, text), result in zip(requests, results, strict=True):
            assert isinstance(result, HeadstockError) == (text == POISON)


def test_linear_and_graph_form_of_one_head_agree(together: Together) -> None:
    one, other = together([("tagger", TEXT), ("tagger-graph", TEXT)])
    assert isinstance(one, list)
    assert isinstance(other, list)
    assert np.abs(one[0] - other[0]).max() < 1e-5


# ---------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    "head, message",
    [
        (ToyHead(tap="mean", out=5, postprocess=TAGGING), "answers per row; .* takes one answer per position"),
        (ToyHead(tap="tokens"), "answers per position; .* takes one answer per row"),
    ],
)
def test_a_head_whose_tap_cannot_give_what_its_answer_needs_is_refused_at_load(
    tmp_path: Path, head: ToyHead, message: str
) -> None:
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(tmp_path)})) as catalogue:
        toy = publish_toy(catalogue, {"odd": head})
        with pytest.raises(Unsupported, match=message):
            Engine(EngineOptions(token_budget=8)).load(load_model(catalogue, toy.models["odd"]))
