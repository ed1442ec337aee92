"""Everything that can be asked beside classes and vectors, of toy models of every kind; sync and async alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headstock.catalogue import Catalogue
from headstock.settings import Settings
from headstock.testing.toy import ToyHead, publish_toy
from headstock_client import AsyncClient, Client
from headstock_client.items import tensors_of
from headstock_server.app import Running, ServeOptions
from headstock_server.engine import EngineOptions
from headstock_server.testing import background_server

TAGS = ["O", "B-X", "I-X"]
MODELS = {
    "tagger": ToyHead(tap="tokens", out=3, seed=1, postprocess={"kind": "token-classification", "labels": TAGS}),
    "reader": ToyHead(tap="tokens", out=2, seed=2, postprocess={"kind": "answer", "most_tokens": 4}),
    "topics": ToyHead(out=3, seed=4, postprocess={"kind": "multi-label", "labels": ["p", "q", "r"], "threshold": 0.5}),
    "price": ToyHead(out=1, seed=5, postprocess={"kind": "regression", "unit": "EUR"}),
}
TEXTS = ["please refund my order", "great invoice", "thanks"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    settings = Settings.from_environment({"HEADSTOCK_HOME": str(tmp_path_factory.mktemp("kinds"))})
    with Catalogue.open(settings) as catalogue:
        publish_toy(catalogue, MODELS)
    options = ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=256))
    with background_server(settings, options) as running:
        yield running


async def test_each_question_has_a_typed_answer_and_both_clients_give_the_same(server: Running) -> None:
    """One row in, one answer out."""
    pairs = [("where is it?", "my order is late"), ("what?", "a good price")]
    asked: list[tuple[str, str, list[Any]]] = [
        ("entities", "tagger", TEXTS),
        ("answer", "reader", pairs),
        ("label_sets", "topics", TEXTS),
        ("regress", "price", TEXTS),
    ]
    async with AsyncClient(server.address) as later:
        with Client(server.address) as client:
            for question, model, items in asked:
                answers = getattr(client, question)(model, items)
                assert len(answers) == len(items)
                assert list(answers) == list(await getattr(later, question)(model, items))


def test_places_of_entities_and_answers_are_characters_of_what_was_sent(server: Running) -> None:
    """So that a caller can mark them."""
    with Client(server.address) as client:
        for text, entities in zip(TEXTS, client.entities("tagger", TEXTS), strict=True):
            assert all(text[e.start : e.end] == e.text and e.label == "X" for e in entities)
        context = "my order is late"
        by_name, by_place = client.answer("reader", [{"question": "where?", "context": context}, ("where?", context)])
    assert by_name == by_place
    assert by_name.text == (context[by_name.start : by_name.end] if by_name.start >= 0 else "")


def test_label_sets_hold_every_probability_and_the_names_above_the_threshold(server: Running) -> None:
    """Likeliest first."""
    with Client(server.address) as client:
        for answer in client.label_sets("topics", TEXTS):
            assert list(answer.probabilities) == ["p", "q", "r"]
            above = sorted(
                (name for name, p in answer.probabilities.items() if p > 0.5), key=lambda n: -answer.probabilities[n]
            )
            assert list(answer.labels) == above


def test_what_a_name_reads_is_asked_for_once(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Metadata is one round trip more; it must not be one per call."""
    with Client(server.address) as client:
        calls = []
        ask = client.metadata
        monkeypatch.setattr(client, "metadata", lambda *a, **k: calls.append(a) or ask(*a, **k))
        for _ in range(3):
            client.regress("price", TEXTS)
    assert len(calls) == 1


@pytest.mark.parametrize(
    "names, item, said",
    [
        (["image"], "photo.png", "encoded bytes or a pathlib.Path"),
        (["text"], {"text": "a"}, "item 0 is a dict"),
        (["text"], ("a", "b"), "takes one input, 'text'"),
        (["question", "context"], "a", "a tuple or mapping of question, context"),
        (["question", "context"], {"question": "a"}, "a tuple or mapping"),
        (["text"], 7, "item 0 is a int"),
    ],
)
def test_an_item_that_does_not_fit_the_model_is_refused_before_it_is_sent(
    names: list[str], item: Any, said: str
) -> None:
    """With the item's number and what the model takes."""
    with pytest.raises(TypeError, match=said):
        tensors_of(names, [item])


def test_files_mappings_and_bytes_become_what_the_wire_carries(tmp_path: Path) -> None:
    """In the order of the items."""
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    assert tensors_of(["image"], [tmp_path / "a.png", b"raw"]) == {"image": [b"\x89PNG", b"raw"]}
    assert tensors_of(["row"], [{"age": 3}, '{"age": 4}']) == {"row": [b'{"age": 3}', b'{"age": 4}']}
    assert tensors_of(["text"], ["\u00fc"]) == {"text": ["\u00fc".encode()]}
