"""From a data file to answers, for every kind of head: trained, published, loaded by the server's engine."""

from __future__ import annotations

import json
import random
import wave
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstock.backbone.pull import pull
from headstock.catalogue import Catalogue
from headstock.data import read_table
from headstock.errors import InvalidInput
from headstock.finetune import Options, Outcome, fine_tune, plan_recipe
from headstock.graph import Graph
from headstock.names import Reference
from headstock.plugin_host import open_host
from headstock.predictor import Predictor
from headstock.records import HeadIdentity
from headstock.servable import load_backbone
from headstock.settings import Settings
from headstock.testing.tiny_audio import make_tiny_wav2vec2
from headstock.testing.tiny_vision import make_tiny_resnet
from headstock.testing.toy import publish_backbone

Written = Sequence[Mapping[str, Any]]

QUICK = Options(epochs=25, learning_rate=0.05, patience=0, batch_size=16)
FILLER = ("where", "is", "my", "the", "a", "please")


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    home = tmp_path_factory.mktemp("trained")
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(home)})) as opened:
        publish_backbone(opened)
        yield opened


def train(
    catalogue: Catalogue, folder: Path, head: str, rows: Written, options: Options = QUICK, backbone: str = "toy"
) -> tuple[Outcome, Predictor]:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    host, table = open_host(catalogue.settings), read_table(path)
    recipe = plan_recipe(catalogue, host, table, Reference(backbone), head, options)
    outcome = fine_tune(catalogue, host, recipe, table, head)
    return outcome, Predictor.open(catalogue, Reference(head))


def metrics(outcome: Outcome) -> dict[str, float]:
    found = {}
    for metric in outcome.report["metrics"]:
        assert metric["low"] <= metric["value"] <= metric["high"], metric
        found[metric["name"]] = metric["value"]
    return found


def texts(count: int, seed: int = 0) -> Iterator[tuple[random.Random, list[str]]]:
    """So many short texts of words that say nothing, each with the dice that made it."""
    dice = random.Random(seed)
    for _ in range(count):
        yield dice, [dice.choice(FILLER) for _ in range(dice.randrange(3, 8))]


# ------------------------------------------------------------------------------------------ whole texts
def test_label_sets_from_lists_to_names(catalogue: Catalogue, tmp_path: Path) -> None:
    rows = []
    for dice, words in texts(80):
        labels = [label for label in ("late", "broken", "refund") if dice.random() < 0.4]
        rows.append({"text": " ".join([*words[:3], *labels]), "labels": labels})
    outcome, predictor = train(catalogue, tmp_path, "text-multi-label", rows)
    assert metrics(outcome)["micro_f1"] > 0.9
    answers = predictor.predict(["where is my late refund", "where is the"]).outputs["labels"]
    assert set(json.loads(answers[0])) == {"late", "refund"}
    assert json.loads(answers[1]) == []


def test_numbers_to_numbers(catalogue: Catalogue, tmp_path: Path) -> None:
    prices = {"great": 900.0, "good": 500.0, "bad": 200.0, "awful": 100.0}
    rows = []
    for dice, words in texts(60):
        word = dice.choice(list(prices))
        rows.append({"text": " ".join([*words[:2], word]), "price": prices[word]})
    options = Options(epochs=60, learning_rate=0.05, columns={"target": "price"}, head_options={"unit": "EUR"})
    outcome, predictor = train(catalogue, tmp_path, "text-regression", rows, options)
    assert metrics(outcome)["r2"] > 0.9
    values = predictor.predict(["my the great", "my the awful"]).outputs["value"]
    assert values[0] - values[1] > 600
    assert outcome.report["confusion"] is None


def test_a_handful_of_texts_per_label_needs_no_training(catalogue: Catalogue, tmp_path: Path) -> None:
    """One epoch, which only judges; the head is the class means."""
    rows = [{"text": f"{' '.join(w[:1])} {label}", "label": label} for label in ("late", "broken") for _, w in texts(6)]
    outcome, predictor = train(catalogue, tmp_path, "text-prototype", rows, Options(validation=0.3))
    assert outcome.report["epochs"]["run"] == 1
    assert metrics(outcome)["accuracy"] == 1.0
    assert predictor.predict(["please late", "a broken"]).outputs["label"].tolist() == [b"late", b"broken"]


def test_the_nearest_texts_may_vote_instead_of_class_means(catalogue: Catalogue, tmp_path: Path) -> None:
    """A label that two unlike words say has no mean of use, but neighbours; the server's engine runs the vote."""
    words = {"late": "odd", "broken": "even", "refund": "odd", "great": "even"}
    rows = [{"text": f"{' '.join(w[:1])} {word}", "label": words[word]} for word in words for _, w in texts(8)]
    options = Options(validation=0.25, head_options={"neighbours": "3"})
    outcome, predictor = train(catalogue, tmp_path, "text-prototype", rows, options)
    assert metrics(outcome)["accuracy"] == 1.0
    identity = HeadIdentity.from_json(catalogue.artefact(outcome.head).identity)
    assert (identity.form, identity.out) == ("graph", 2)
    assert predictor.predict(["please late", "a broken"]).outputs["label"].tolist() == [b"odd", b"even"]


# ------------------------------------------------------------------------------------------ tokens
def tagged(count: int) -> Written:
    """`invoice order` is a THING, `refund` a WISH."""
    rows = []
    for dice, words in texts(count):
        place, tags = dice.randrange(len(words)), ["O"] * len(words)
        if dice.random() < 0.6:
            words[place:place], tags[place:place] = ["invoice", "order"], ["B-THING", "I-THING"]
        if dice.random() < 0.6:
            words.append("refund")
            tags.append("B-WISH")
        rows.append({"text": " ".join(words), "spans": tags})
    return rows


def test_tags_of_words_to_spans_of_characters(catalogue: Catalogue, tmp_path: Path) -> None:
    outcome, predictor = train(catalogue, tmp_path, "token-classification", tagged(60))
    assert list(metrics(outcome)) == ["entity_f1", "entity_precision", "entity_recall", "word_accuracy"]
    assert metrics(outcome)["entity_f1"] > 0.95
    assert outcome.report["labels"] == ["O", "B-THING", "I-THING", "B-WISH", "I-WISH"]
    text = "where is  my invoice order please refund"
    (answer,) = predictor.predict([text]).outputs["entities"]
    found = [(span["label"], text[span["start"] : span["end"]]) for span in json.loads(answer)]
    assert found == [("THING", "invoice order"), ("WISH", "refund")]


def test_the_second_head_on_tokens_runs_the_backbone_on_nothing(catalogue: Catalogue, tmp_path: Path) -> None:
    """The cache holds rows of different lengths too; spans as characters give the same head as tags."""
    rows = tagged(60)
    first, _ = train(catalogue, tmp_path, "token-classification", rows)
    assert first.report["features"]["cached"] == len({row["text"] for row in rows})
    spans = []
    for row in rows:
        at, found = 0, []
        for word, tag in zip(row["text"].split(), row["spans"], strict=True):
            if tag.startswith("B"):
                found.append({"start": at, "end": at + len(word), "label": tag[2:]})
            elif tag != "O":
                found[-1]["end"] = at + len(word)
            at += len(word) + 1
        spans.append({"text": row["text"], "spans": found})
    again, _ = train(catalogue, tmp_path, "token-classification", spans)
    assert again.head == first.head
    assert again.report["features"]["computed"] == 0


def test_questions_and_contexts_to_stretches_of_the_context(catalogue: Catalogue, tmp_path: Path) -> None:
    """The toy's tokens know their word and nothing of the question, so what can be learnt is: the answer is a thing."""
    rows = []
    for dice, words in texts(80):
        answer = dice.choice(["invoice", "order", ""])
        if answer:
            words.insert(dice.randrange(len(words)), answer)
        rows.append({"question": dice.choice(["where", "is late"]), "context": " ".join(words), "answer": answer})
    outcome, predictor = train(catalogue, tmp_path, "question-answering", rows)
    assert list(metrics(outcome)) == ["answer_f1", "exact_match"]
    # Position 0 is the same for all: with an answer it must lose, without it must win against words of no weight.
    assert metrics(outcome)["exact_match"] > 0.8
    answers = predictor.predict(["where"], ["please my invoice is the"]).outputs
    assert answers["answer"].tolist() == [b"invoice"]
    assert (answers["start"].tolist(), answers["end"].tolist()) == ([10], [17])


@pytest.mark.parametrize(
    "head, rows, message",
    [
        ("token-classification", [{"text": "a b", "spans": "B-X"}] * 2, "row 1 has 1 tags for 2 words"),
        ("question-answering", [{"question": "a", "context": "b", "answer": "z"}] * 2, "does not stand in its context"),
    ],
)
def test_data_that_does_not_fit_is_refused_before_the_backbone_runs(
    catalogue: Catalogue, tmp_path: Path, head: str, rows: Written, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        train(catalogue, tmp_path, head, rows)


def test_a_head_on_positions_refuses_a_tap_without_them(catalogue: Catalogue, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="answers once for every position") as caught:
        train(catalogue, tmp_path, "token-classification", tagged(8), Options(tap="mean"))
    assert caught.value.fix == "--tap tokens"


# ------------------------------------------------------------------------------------------ pictures and sound
def pulled(catalogue: Catalogue, folder: Path, make: Callable[[Path], object], name: str) -> None:
    make(folder / name)
    pull(catalogue, open_host(catalogue.settings), f"path:{folder / name}", name)


def test_good_pictures_to_a_map_of_what_is_not_good(catalogue: Catalogue, tmp_path: Path) -> None:
    """A graph head: published as ONNX, run by the engine as torch ran it."""
    from PIL import Image

    pulled(catalogue, tmp_path, make_tiny_resnet, "tiny-resnet")
    dice, rows = np.random.default_rng(0), []
    for i in range(24):
        pixels = np.full((32, 32, 3), 120) + dice.integers(0, 12, (32, 32, 3))
        if i % 6 == 5:
            pixels[4:14, 16:28] = 255 * dice.integers(0, 2, (10, 12, 1))
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{i}.png")
        rows.append({"image": f"{i}.png", "label": "scratch" if i % 6 == 5 else "good"})
    options = Options(validation=0.4, seed=3, head_options={"share": "0.5"})
    outcome, predictor = train(catalogue, tmp_path, "image-anomaly", rows, options, "tiny-resnet")
    assert list(metrics(outcome)) == ["auroc", "auprc", "normal_passed"]
    head = HeadIdentity.from_json(catalogue.artefact(outcome.head).identity)
    assert head.form == "graph"
    pictures = [(tmp_path / f"{i}.png").read_bytes() for i in (0, 5)]
    answers = predictor.predict(pictures).outputs
    assert answers["score"][1] > 2 * answers["score"][0]
    assert answers["anomalous"][1]
    assert answers["anomaly_map"].shape[0] == 2
    assert np.prod(answers["anomaly_map"].shape[1:]) == head.out


def test_recordings_to_letters(catalogue: Catalogue, tmp_path: Path) -> None:
    """Tones that stand for letters; the frames of a random network tell them apart well enough to read some of them."""
    pulled(catalogue, tmp_path, make_tiny_wav2vec2, "tiny-wav2vec2")
    dice, rows = np.random.default_rng(0), []
    for i in range(16):
        said = "".join(dice.choice(list("ab"), int(dice.integers(1, 4))))
        tones = {"a": 300.0, "b": 2500.0}
        sound = [np.zeros(1600)]
        for letter in said:
            sound += [0.5 * np.sin(2 * np.pi * tones[letter] * np.arange(3200) / 16_000), np.zeros(1600)]
        with wave.open(str(tmp_path / f"{i}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes((np.concatenate(sound) * 32767).astype("<i2").tobytes())
        rows.append({"audio": f"{i}.wav", "transcript": said})
    options = Options(epochs=60, learning_rate=0.05, patience=0, validation=0.3)
    outcome, predictor = train(catalogue, tmp_path, "speech-recognition", rows, options, "tiny-wav2vec2")
    figures = metrics(outcome)
    assert list(figures) == ["character_accuracy", "wer", "cer"]
    assert figures["cer"] < 0.5
    answers = predictor.predict([(tmp_path / f"{i}.wav").read_bytes() for i in range(3)]).outputs
    assert set("".join(t.decode() for t in answers["text"])) <= {"a", "b"}
    assert answers["logits"].shape == (3, int(answers["lengths"].max()), 3)


def test_a_taps_positions_are_those_that_the_network_makes_of_a_row_alone(catalogue: Catalogue) -> None:
    """The formula that strips padding from a batch, held against the graph at every length around a stride."""
    backbone = load_backbone(catalogue, catalogue.version(Reference("tiny-wav2vec2")).subject)
    graph, preprocessor, tap = Graph(backbone.graph), backbone.open_preprocessor(), backbone.identity.tap("frames")
    assert tap.ragged
    for samples in range(1000, 1000 + 330, 47):
        values = np.ones((1, samples), np.float32)
        (row,) = preprocessor.rows_from_tensors(
            {"input_values": values, "attention_mask": np.ones((1, samples), np.int64)}
        )
        (frames,) = graph.run(preprocessor.collate([row]), ["frames"])
        assert tap.positions(row.steps) == frames.shape[1]
