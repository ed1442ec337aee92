"""Speech recognition heads: characters without frames to train on, frames to characters when asked."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from headstock import postprocess
from headstock.errors import InvalidInput
from headstock.heads import SpeechRecognitionHead


class Speech(SpeechRecognitionHead):
    name: ClassVar[str] = "toy-speech"
    modality: ClassVar[str] = "audio"
    tap: ClassVar[str] = "frames"


def _frames(text: str, random: np.random.Generator) -> np.ndarray:
    """Frames whose features say what is heard: two or three per character, silence between."""
    sounds = [8]
    for character in text:
        sounds += ["ab c".index(character)] * int(random.integers(2, 4)) + [8]
    noise = 0.3 * random.standard_normal((len(sounds), 9))
    return (2 * np.eye(9)[sounds] + noise).astype(np.float32)


def test_transcripts_become_indices_of_a_sorted_alphabet() -> None:
    """Spaces at the ends go and runs of them are one; letters keep their case."""
    targets = Speech().encode({"transcript": ["b  a", " aB "]})
    assert targets.labels == (" ", "B", "a", "b")
    assert list(targets.values) == [[3, 0, 2], [2, 1]]


def test_an_older_alphabet_keeps_its_order_and_strange_characters_are_named() -> None:
    assert Speech().encode({"transcript": ["ab"]}, list("cba")).values[0] == [2, 1]
    with pytest.raises(InvalidInput, match=r"row 2 says 'z', which is not in the alphabet \['a', 'b'\]"):
        Speech().encode({"transcript": ["ab", "az"]}, ["a", "b"])


@pytest.mark.parametrize(
    "column, message",
    [(["a", "", None], "the transcript is empty in rows 2, 3"), (["same"] * 3, "all 3 rows have the same transcript")],
)
def test_transcripts_that_cannot_train_a_head_are_refused(column: list[Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Speech().encode({"transcript": column})


def test_the_loss_is_that_of_each_row_alone_whatever_the_padding_holds() -> None:
    """The mean over rows of what torch's own loss says of the row without padding."""
    random = np.random.default_rng(0)
    texts = ["ab", "a cab b"]
    targets = Speech().encode({"transcript": texts})
    rows = [_frames(text, random) for text in texts]
    torch.manual_seed(0)
    head = Speech().build(9, targets, {})
    batch = Speech().collate(rows, targets)
    assert batch.mask is not None
    batch.features[~batch.mask] = 1e6
    alone = [Speech().loss(head, Speech().collate([row], targets.only([i]))) for i, row in enumerate(rows)]
    assert torch.allclose(Speech().loss(head, batch), (alone[0] + alone[1]) / 2)


def test_a_row_too_short_for_its_transcript_does_not_make_the_loss_infinite() -> None:
    targets = Speech().encode({"transcript": ["abab", "ba"]})
    rows = [np.zeros((2, 9), np.float32), np.zeros((9, 9), np.float32)]
    assert torch.isfinite(Speech().loss(Speech().build(9, targets, {}), Speech().collate(rows, targets)))


def test_a_head_learns_to_read_frames_and_folds_into_one_linear_map() -> None:
    """No frame is labelled; words that it never saw come out right."""
    random = np.random.default_rng(1)
    texts = ["".join(random.choice(list("abc"), 3)) + " " + "".join(random.choice(list("abc"), 2)) for _ in range(24)]
    targets = Speech().encode({"transcript": texts})
    rows = [_frames(text, random) for text in texts]
    torch.manual_seed(0)
    head: Any = Speech().build(9, targets, {})
    head.fit_input_statistics(torch.from_numpy(np.concatenate(rows)))
    optimiser = torch.optim.Adam(head.parameters(), lr=0.1)
    for _ in range(80):
        optimiser.zero_grad()
        Speech().loss(head, Speech().collate(rows, targets)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    unseen = _frames("cc ab", random)
    with torch.no_grad():
        outputs = [head(torch.from_numpy(row)).numpy() for row in (*rows, unseen)]
    right, wer, cer = Speech().metrics(outputs[:-1], targets, 0)
    assert right.value > 0.95
    assert (wer.name, cer.name) == ("wer", "cer")
    form = Speech().linear_form(head)
    assert form is not None
    served = unseen @ form.weight + form.bias
    answers = postprocess.apply(Speech().postprocess(targets, {}), [served, rows[0] @ form.weight + form.bias])
    assert answers["text"].tolist()[0] == b"cc ab"
    assert ((answers["confidence"] > 0.3) & (answers["confidence"] <= 1)).all()
    assert answers["lengths"].tolist() == [len(unseen), len(rows[0])]
    assert answers["logits"].shape == (2, max(answers["lengths"]), 5)


def test_silence_is_an_empty_text() -> None:
    spec = {"kind": "transcript", "alphabet": ["a", "b"]}
    raw = np.array([[0, 0, 9]] * 4, np.float32)
    answers = postprocess.apply(spec, [raw])
    assert answers["text"].tolist() == [b""]
    assert answers["confidence"][0] == pytest.approx(1.0, abs=1e-3)
    assert postprocess.outputs(spec)[2].labels == ("a", "b", "<blank>")
