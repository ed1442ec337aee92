"""Text heads: labels are checked by row, training folds into one linear map, metrics carry honest intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from headstock import metrics, postprocess
from headstock.errors import InvalidInput
from headstock.heads.projection import supervised_contrastive
from headstock.hookspecs import Batch, HeadType, Targets
from headstock.testing import check_head_type
from headstock_text.heads import TextClassification, TextEmbedding

CLASSIFICATION, EMBEDDING = TextClassification(), TextEmbedding()

both = pytest.mark.parametrize("head_type", [CLASSIFICATION, EMBEDDING], ids=lambda h: h.name)


@both
def test_the_head_keeps_every_promise_of_the_contract(head_type: HeadType) -> None:
    """The same kit that third parties run."""
    assert [r for r in check_head_type(head_type) if not r.passed] == []


# --------------------------------------------------------------------------------------------- labels
def test_classes_are_sorted_and_rows_become_their_indices() -> None:
    """The order does not depend on the order of rows."""
    targets = CLASSIFICATION.encode({"label": ["pear", "apple", "pear", " apple "]})
    assert targets.labels == ("apple", "pear")
    assert targets.values.tolist() == [1, 0, 1, 0]
    assert targets.values.dtype == np.int64


def test_an_older_heads_classes_keep_their_order() -> None:
    """Continuing a head may not renumber its outputs, even when the new data lacks a class."""
    targets = CLASSIFICATION.encode({"label": ["b", "b"]}, labels=["c", "b", "a"])
    assert (targets.labels, targets.values.tolist()) == (("c", "b", "a"), [1, 1])


@pytest.mark.parametrize(
    "column, labels",
    [
        ([1, 2, 1], ("1", "2")),
        ([1.0, 2.0, 1.0], ("1", "2")),
        (np.array([3, 5, 3]), ("3", "5")),
        ([True, False, True], ("False", "True")),
        ([0.5, 1.0, 0.5], ("0.5", "1")),
    ],
)
def test_labels_that_are_not_text_are_written_as_people_write_them(column: Any, labels: tuple[str, ...]) -> None:
    """A column of whole numbers stays whole numbers, whatever reader it came through."""
    assert CLASSIFICATION.encode({"label": column}).labels == labels


@both
@pytest.mark.parametrize(
    "column, message",
    [
        ([], "there are no rows"),
        (["a", "", "b", None, float("nan")], "the label is empty in rows 2, 4, 5"),
        (["a", *[""] * 7, "b"], "the label is empty in rows 2, 3, 4, 5, 6 and 2 more"),
        (["a", "b", "  "], "the label is empty in row 3"),
        (["same"] * 4, "all 4 rows have the label 'same'; .* needs at least two labels"),
        (["a", "b", "c"], r"each of the 3 rows has a label of its own, from row 1 \('a'\) to row 3 \('c'\)"),
    ],
)
def test_labels_that_cannot_train_a_head_are_refused_naming_the_rows(
    head_type: HeadType, column: list[Any], message: str
) -> None:
    """Rows count from 1, and only the first five are listed."""
    with pytest.raises(InvalidInput, match=message):
        head_type.encode({"label": column})


def test_a_label_that_an_older_head_does_not_know_is_named() -> None:
    """With its row and with the labels that exist."""
    with pytest.raises(InvalidInput, match=r"label 'z' in row 2 is not one of \['a', 'b'\]"):
        CLASSIFICATION.encode({"label": ["a", "z"]}, labels=["a", "b"])


# ------------------------------------------------------------------------------------------ linear form
def test_standardisation_folds_into_one_linear_map() -> None:
    """On features whose scales differ by a million and of which one never varies."""
    torch.manual_seed(0)
    features = torch.randn(64, 5) * torch.tensor([1e-3, 1.0, 1e3, 0.0, 1.0]) + torch.tensor([0.0, 5.0, -2e3, 7.0, 0.0])
    head: Any = CLASSIFICATION.build(5, Targets(np.zeros(64), ("a", "b", "c")), {})
    head.fit_input_statistics(features)
    form = CLASSIFICATION.linear_form(head)
    outputs = head(features).detach().numpy()
    assert np.isfinite(outputs).all()
    assert np.abs(outputs).max() < 20
    assert np.abs(features.numpy() @ form.weight + form.bias - outputs).max() < 1e-3
    assert (form.weight.shape, form.bias.shape, form.weight.dtype) == ((5, 3), (3,), np.float32)


@both
def test_features_of_single_tokens_are_refused(head_type: HeadType) -> None:
    """These heads answer for whole texts; the fix names the taps that have them."""
    head = head_type.build(4, Targets(np.zeros(2), ("a", "b")), {})
    with pytest.raises(InvalidInput, match=r"features have shape \[2, 7, 4\]; this head takes \[n, 4\]") as caught:
        head(torch.randn(2, 7, 4))
    assert "--tap mean" in (caught.value.fix or "")


# -------------------------------------------------------------------------------------------- embedding
def test_an_untrained_embedding_is_the_plain_pooled_one() -> None:
    """The projection starts as the identity, so training can only be judged against that."""
    features = torch.randn(6, 8)
    options = EMBEDDING.resolve_options(8, EMBEDDING.default_options())
    head = EMBEDDING.build(8, Targets(np.zeros(6), ("a", "b")), options)
    spec = EMBEDDING.postprocess(Targets(np.zeros(6)), options)
    assert spec == {"kind": "embedding", "width": 8, "normalise": True}
    answered = postprocess.apply(spec, head(features).detach().numpy())["embedding"]
    assert np.allclose(answered, torch.nn.functional.normalize(features, dim=1).numpy(), atol=1e-6)


def test_training_an_embedding_finds_the_direction_that_matters() -> None:
    """Labels live in one small direction among loud noise: recall@1 rises from chance to near 1 on new rows."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(240) % 4
    features = torch.randn(240, 12, generator=generator) * 3
    features[:, :4] = torch.nn.functional.one_hot(labels, 4) * 2.0 + 0.1 * torch.randn(240, 4, generator=generator)
    head = EMBEDDING.build(12, Targets(labels.numpy(), tuple("abcd")), EMBEDDING.default_options())
    held_out = Targets(labels[120:].numpy(), tuple("abcd"))

    def recall() -> float:
        return EMBEDDING.metrics(head(features[120:]).detach().numpy(), held_out, 0)[0].value

    before = recall()
    optimiser = torch.optim.Adam(head.parameters(), lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        EMBEDDING.loss(head, Batch(features[:120], labels[:120])).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert before < 0.7
    assert recall() > 0.95


def test_the_contrastive_loss_is_the_published_one() -> None:
    """Against the formula written out row by row."""
    generator = torch.Generator().manual_seed(1)
    vectors, labels, t = torch.randn(7, 5, generator=generator), torch.tensor([0, 0, 1, 1, 1, 2, 0]), 0.2
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    rows = []
    for i in range(7):
        others = [j for j in range(7) if j != i]
        partners = [j for j in others if labels[j] == labels[i]]
        total = sum(torch.exp(unit[i] @ unit[j] / t) for j in others)
        if partners:
            rows.append(-sum(torch.log(torch.exp(unit[i] @ unit[p] / t) / total) for p in partners) / len(partners))
    expected = sum(rows) / len(rows)
    assert torch.allclose(supervised_contrastive(vectors, labels, t), torch.as_tensor(expected), atol=1e-5)


def test_a_batch_without_a_pair_teaches_nothing() -> None:
    """Loss 0 and gradient 0 instead of NaN: the last batch of an epoch may be one row."""
    for labels in (torch.tensor([0, 1, 2]), torch.tensor([0])):
        vectors = torch.randn(len(labels), 4, requires_grad=True)
        loss = supervised_contrastive(vectors, labels, 0.1)
        loss.backward()  # type: ignore[no-untyped-call]
        assert loss.item() == 0
        assert vectors.grad is not None
        assert torch.equal(vectors.grad, torch.zeros_like(vectors))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"width": 99}, "width is 99, but the tap has only 8 features"),
        ({"width": -1}, "width is -1; expected a whole number"),
        ({"width": 2.5}, r"width is 2\.5; expected a whole number"),
        ({"temperature": 0.0}, r"temperature is 0\.0; expected a number from 0\.001 to 100"),
        ({"temperature": "hot"}, "temperature is 'hot'"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    """When the head is built, before anything is trained."""
    with pytest.raises(InvalidInput, match=message):
        EMBEDDING.build(8, Targets(np.zeros(2), ("a", "b")), {**EMBEDDING.default_options(), **options})


def test_a_narrower_embedding_keeps_its_width_through_to_the_answer() -> None:
    """Option, weights and spec agree."""
    options = EMBEDDING.resolve_options(8, {"width": 3, "temperature": 0.1})
    form = EMBEDDING.linear_form(EMBEDDING.build(8, Targets(np.zeros(2), ("a", "b")), options))
    assert form.weight.shape == (8, 3)
    assert EMBEDDING.postprocess(Targets(np.zeros(2)), options)["width"] == 3


def test_a_spec_is_never_written_with_an_unresolved_width() -> None:
    """Zero means "the tap's" to a person and nothing to a server."""
    with pytest.raises(InvalidInput, match="resolve_options"):
        EMBEDDING.postprocess(Targets(np.zeros(2)), EMBEDDING.default_options())


# ---------------------------------------------------------------------------------------------- metrics
def test_classification_reports_accuracy_first_then_macro_f1_and_log_loss() -> None:
    """Values equal scikit-learn's; every value lies in its interval; the same seed gives the same interval."""
    from sklearn.metrics import accuracy_score, f1_score, log_loss

    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, 200)
    logits = (generator.standard_normal((200, 3)) + 1.5 * np.eye(3)[truth]).astype(np.float32)
    targets = Targets(truth, ("a", "b", "c"))
    found = CLASSIFICATION.metrics(logits, targets, 7)
    predicted, wide = logits.argmax(1), logits.astype(np.float64)
    assert [m.name for m in found] == ["accuracy", "macro_f1", "log_loss"]
    expected = [
        accuracy_score(truth, predicted),
        f1_score(truth, predicted, average="macro"),
        log_loss(truth, np.exp(wide) / np.exp(wide).sum(axis=1, keepdims=True)),
    ]
    assert [m.value for m in found] == pytest.approx(expected, abs=1e-6)
    assert all(m.low < m.value < m.high for m in found)
    assert found == CLASSIFICATION.metrics(logits, targets, 7)
    assert found[1] != CLASSIFICATION.metrics(logits, targets, 8)[1]


@pytest.mark.parametrize(
    "hits, n, low, high", [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (0, 0, 0.0, 1.0)]
)
def test_wilsons_interval_has_width_at_the_ends(hits: int, n: int, low: float, high: float) -> None:
    """Ten right of ten is not certainty; reference values from the published formula."""
    metric = metrics.wilson("accuracy", hits, n)
    assert (metric.low, metric.high) == pytest.approx((low, high), abs=1e-4)


def test_a_bootstrap_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Of 200 samples of 60 rows, the mean's 95 % interval holds the true mean in 90 to 99 %."""
    generator = np.random.default_rng(3)
    held = 0
    for seed in range(200):
        metric = metrics.bootstrap_mean("m", generator.exponential(1.0, 60), seed)
        held += metric.low <= 1.0 <= metric.high
    assert 0.88 <= held / 200 <= 0.99


def test_a_class_that_is_never_predicted_counts_in_macro_f1() -> None:
    """Majority voting on 9 against 1 looks good in accuracy and bad here."""
    truth = np.array([0] * 9 + [1])
    metric = metrics.macro_f1(np.zeros(10, dtype=np.int64), truth, 2, 0)
    assert metric.value == pytest.approx((2 * 9 / 19) / 2)


def test_retrieval_ranks_each_row_among_the_others() -> None:
    """Hand-made: two near pairs and one row whose only partner is far; a row without partner does not count."""
    angles = np.radians([0, 5, 90, 95, 47, 180])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    labels = np.array([0, 0, 1, 1, 1, 2])
    recall, mrr = metrics.retrieval(vectors, labels, 0)
    # Row 4 (47 degrees) meets row 1 (42 away) before its partner at 90 (43 away).
    assert recall.value == pytest.approx(4 / 5)
    assert mrr.value == pytest.approx((4 + 1 / 2) / 5)


def test_vectors_that_are_all_equal_retrieve_nothing() -> None:
    """A tie counts against the embedding: a collapsed one must not look perfect."""
    recall, mrr = metrics.retrieval(np.ones((6, 3)), np.array([0, 0, 0, 1, 1, 1]), 0)
    assert recall.value == 0.0
    assert mrr.value == pytest.approx(1 / 4)


def test_vectors_that_are_not_numbers_retrieve_nothing() -> None:
    """NaN compares false with everything, which must not make it look near."""
    recall, mrr = metrics.retrieval(np.full((6, 3), np.nan), np.array([0, 0, 0, 1, 1, 1]), 0)
    assert (recall.value, mrr.value) == (0.0, pytest.approx(1 / 4))


def test_no_rows_are_no_measurement() -> None:
    """An empty validation set is said, not averaged."""
    with pytest.raises(InvalidInput, match="no rows to measure"):
        metrics.macro_f1(np.array([], dtype=np.int64), np.array([], dtype=np.int64), 2, 0)


def test_retrieval_without_any_pair_says_that_it_knows_nothing() -> None:
    """The whole interval, not a figure."""
    recall, _ = metrics.retrieval(np.eye(3), np.array([0, 1, 2]), 0)
    assert (recall.low, recall.high) == (0.0, 1.0)
