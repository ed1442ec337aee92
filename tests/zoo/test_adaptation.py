"""Domain adaptation on digits whose domain is changed on purpose: who gains, who is flagged, when it is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pytest
import torch

from headstock.adaptation import losses
from headstock.adaptation.compare import compare
from headstock.adaptation.domains import Domains
from headstock.adaptation.journal import Journal
from headstock.adaptation.label_shift import Answers, label_shift
from headstock.adaptation.publication import served_graph
from headstock.adaptation.settings import settings
from headstock.adaptation.training import logits_of, train_adapted
from headstock.finetune.checkpoint import State

Floats = npt.NDArray[np.float32]
QUICK = settings(epochs=20)


def contrast(images: Floats, dice: np.random.Generator) -> Floats:
    return 0.3 * images + 0.6 + dice.normal(0, 0.12, images.shape)


def rotated(images: Floats, dice: np.random.Generator) -> Floats:
    from scipy.ndimage import rotate

    return rotate(images, 25, axes=(2, 1), reshape=False, order=1)


def inverted(images: Floats, dice: np.random.Generator) -> Floats:
    return 1 - images


def background(images: Floats, dice: np.random.Generator) -> Floats:
    return np.abs(images - dice.uniform(0, 1, images.shape))


def digits(
    change: Callable[[Floats, np.random.Generator], Floats], classes: int = 10
) -> tuple[Domains, npt.NDArray[np.int64]]:
    """Domains, and the target's true classes."""
    from sklearn.datasets import load_digits

    data, dice = load_digits(), np.random.default_rng(0)
    images, truth = (data.images / 16).astype(np.float32), data.target.astype(np.int64)
    order = dice.permutation(len(images))
    train, held, other = order[:700], order[700:900], order[900:]
    changed = change(images[other], dice).reshape(-1, 64).astype(np.float32)
    kept = truth[other] < classes
    flat = images.reshape(-1, 64)
    return Domains(flat[train], truth[train], flat[held], truth[held], changed[kept], 10), truth[other][kept]


def gain(method: str, domains: Domains, truth: npt.NDArray[np.int64], seed: int) -> float:
    """Points of target accuracy over source-only."""
    adapted, base = (
        (logits_of(train_adapted(m, domains, seed, settings(epochs=30)), domains.target).argmax(axis=1) == truth).mean()
        for m in (method, "source-only")
    )
    return 100 * float(adapted - base)


@pytest.mark.parametrize("change,method,points", [(contrast, "coral", 30), (rotated, "mcc", 20)])
def test_the_method_that_fits_the_change_gains_in_every_seed(
    change: Callable[[Floats, np.random.Generator], Floats], method: str, points: float
) -> None:
    domains, truth = digits(change)
    assert min(gain(method, domains, truth, seed) for seed in (0, 1)) > points


@pytest.mark.parametrize("change", [inverted, background])
def test_a_target_that_is_not_the_source_moved_is_refused(
    change: Callable[[Floats, np.random.Generator], Floats],
) -> None:
    domains, _ = digits(change)
    assert compare(domains, ("coral",), (0, 1), QUICK).verdict == "adaptation failed"


def test_label_shift_is_flagged_only_where_classes_are_missing_and_dann_is_unstable() -> None:
    shifted, _ = digits(contrast, classes=3)
    assert compare(shifted, ("mcc",), (0, 1), QUICK).label_shift.flagged
    domains, _ = digits(contrast)
    found = compare(domains, ("mcc", "dann"), (0, 1), QUICK)
    assert not found.label_shift.flagged
    assert [(s.method, s.stable) for s in found.scores[1:]] == [("mcc", True), ("dann", False)]
    assert (found.chosen, found.verdict) == ("mcc", "adapted")


@pytest.mark.parametrize("rare, least, most", [(1.0, 0, 1), (0.05, 18, 20)])
def test_the_flag_is_rarely_raised_by_chance_and_mostly_where_a_class_is_all_but_gone(
    rare: float, least: int, most: int
) -> None:
    """Of 20 draws from three classes and three seeds that are right for 85 % of the rows; the third class comes `rare`
    times as often in the target."""
    dice = np.random.default_rng(5)

    def answered(truth: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return np.where(dice.random(len(truth)) < 0.85, truth, dice.integers(3, size=len(truth)))

    flagged = 0
    for _ in range(20):
        source, held = dice.integers(3, size=160), dice.integers(3, size=60)
        target = dice.choice(3, size=200, p=np.array([1, 1, rare]) / (2 + rare))
        inside, outside = ([answered(rows) for _ in range(3)] for rows in (held, target))
        flagged += label_shift([Answers("mcc", 0.8, inside, outside)], held, source, 3).flagged
    assert least <= flagged <= most


def test_alignment_gives_the_source_mean_and_covariance_of_the_target() -> None:
    dice = np.random.default_rng(0)
    source, target = (dice.normal(size=(400, 4)) @ dice.normal(size=(4, 4)) + k for k in (0, 3))
    moved = losses.coral_alignment(source, target, ridge=1e-9)
    np.testing.assert_allclose(np.cov(moved.T), np.cov(target.T), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(moved.mean(axis=0), target.mean(axis=0), atol=1e-3)


def test_losses_are_zero_where_nothing_is_left_to_do_and_positive_elsewhere() -> None:
    rows = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    assert float(losses.coral_loss(rows, rows)) == 0
    assert float(losses.coral_loss(rows, 2 * rows)) > 0
    # The last batch of an epoch may be a single row, which has no covariance.
    assert float(losses.coral_loss(rows[:1], rows)) == 0
    assert abs(float(losses.mmd_loss(rows, rows))) < 1e-6
    assert float(losses.mmd_loss(rows, rows + 2)) > 0.1
    certain = 100 * torch.eye(3)
    assert float(losses.mcc_loss(certain)) < 1e-6 < float(losses.mcc_loss(torch.zeros(3, 3)))


def test_the_reversed_gradient_has_the_other_sign() -> None:
    value = torch.ones(2, requires_grad=True)
    losses.reverse_gradient(value, 0.5).sum().backward()
    assert value.grad is not None
    assert value.grad.tolist() == [-0.5, -0.5]


def test_importance_weights_favour_source_rows_that_look_like_the_target() -> None:
    source, target = np.linspace(-1, 1, 100, dtype=np.float32)[:, None], np.full((50, 1), 0.9, np.float32)
    weights = losses.importance_weights(source, target)
    assert weights[-1] > weights[0]
    assert weights.mean() == pytest.approx(1, abs=1e-5)


def test_the_last_epoch_is_kept_whatever_the_source_says() -> None:
    """An adaptation may cost source accuracy, and no target label says which epoch is best."""

    class Epochs(Journal):
        kept: ClassVar[list[int]] = []
        accuracies: ClassVar[list[float]] = []

        def epoch(self, method: str, seed: int, state: State) -> None:
            self.kept.append(state.best_epoch)
            self.accuracies.append(state.history[-1]["accuracy"])

    domains, _ = digits(contrast)
    wrong = replace(domains, truth=(domains.truth + 1) % 10)
    train_adapted("mmd", wrong, 0, settings(epochs=6), Epochs())
    assert Epochs.kept == [1, 2, 3, 4, 5, 6]
    assert Epochs.accuracies[0] > Epochs.accuracies[-1]


def test_equal_seeds_give_equal_graphs_that_answer_as_the_trained_head() -> None:
    domains, _ = digits(contrast)
    first, second = (train_adapted("mmd", domains, 3, settings(epochs=1)) for _ in range(2))
    assert first.graph() == second.graph()
    assert served_graph(first, domains.target)[1] < 1e-5
