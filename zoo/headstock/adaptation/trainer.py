"""The one trainer of adaptation: labelled source and unlabelled target features in, a head out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from headstock.adaptation import losses
from headstock.adaptation.network import AdaptedHead
from headstock.errors import HeadstockError, InvalidInput
from headstock.finetune.loop import one_thread, seeded

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

SOURCE_ONLY = "source-only"
METHODS = ("coral", "mcc", "dann", "mmd", "importance")
"""What `train_adapted` knows besides `source-only`."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How every method is trained: the same for all, so that they compare."""

    epochs: int = 30
    """Passes over the source rows."""
    batch_size: int = 64
    learning_rate: float = 1e-3
    """Of Adam."""
    hidden: int = 64
    """Width of both hidden layers."""
    strength: float = 1.0
    """Weight of the adaptation loss."""


@dataclass(frozen=True, slots=True)
class Domains:
    """What adaptation learns from: source features [n, d] with classes INT64 [n], target features [m, d]."""

    source: Floats
    labels: Labels
    target: Floats
    classes: int


def train_adapted(method: str, domains: Domains, seed: int, settings: Settings) -> AdaptedHead:
    """A head for the target by `method`; equal arguments give equal weights.

    Raises `InvalidInput` for an unknown method and `HeadstockError` if the loss stops being a number.
    """
    if method not in (SOURCE_ONLY, *METHODS):
        raise InvalidInput(f"there is no adaptation method {method!r}; expected one of {', '.join(METHODS)}")
    with one_thread(), seeded(seed, "adaptation"):
        head = AdaptedHead(domains.source.shape[1], domains.classes, settings.hidden)
        source = source_view(method, domains, domains.source)
        rows, truth, target = (
            torch.from_numpy(source),
            torch.from_numpy(domains.labels),
            torch.from_numpy(domains.target),
        )
        head.set_input_statistics(rows)
        weights = torch.ones(len(rows))
        if method == "importance":
            scaled = [((one - head.mean) / head.scale).numpy() for one in (rows, target)]
            weights = torch.from_numpy(losses.importance_weights(scaled[0], scaled[1]))
        _descend(method, head, rows, truth, target, weights, settings)
    return head.eval()


def source_view(method: str, domains: Domains, rows: Floats) -> Floats:
    """Source rows [k, d] as a head of `method` sees them: CORAL moves them to the target, which stays where it is."""
    if method != "coral":
        return rows
    return losses.coral_alignment(domains.source, domains.target, _ridge(domains.source), rows)


def logits_of(head: AdaptedHead, features: Floats) -> Floats:
    """Logits [n, classes] FP32."""
    with torch.no_grad(), one_thread():
        result: Floats = head(torch.from_numpy(features)).numpy()
    return result


def _ridge(features: Floats) -> float:
    """A hundredth of the mean variance: features of any scale are whitened alike."""
    return max(0.01 * float(features.var(axis=0).mean()), 1e-12)


def _descend(
    method: str,
    head: AdaptedHead,
    rows: torch.Tensor,
    truth: torch.Tensor,
    target: torch.Tensor,
    weights: torch.Tensor,
    settings: Settings,
) -> None:
    critic = torch.nn.Sequential(
        torch.nn.Linear(settings.hidden, settings.hidden), torch.nn.ReLU(), torch.nn.Linear(settings.hidden, 1)
    )
    optimizer = torch.optim.Adam([*head.parameters(), *critic.parameters()], settings.learning_rate)
    size = min(settings.batch_size, len(rows), len(target))
    steps = len(rows) // size
    for epoch in range(settings.epochs):
        order = torch.randperm(len(rows))
        for step in range(steps):
            picked = order[step * size : (step + 1) * size]
            other = target[torch.randint(len(target), (size,))]
            progress = (epoch * steps + step) / (settings.epochs * steps)
            ours, theirs = head.represent(rows[picked]), head.represent(other)
            each = torch.nn.functional.cross_entropy(head.classifier(ours), truth[picked], reduction="none")
            loss = (each * weights[picked]).mean()
            loss = loss + settings.strength * _extra(method, head, critic, ours, theirs, progress)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if not math.isfinite(float(loss.detach())):
            raise HeadstockError(
                f"the loss of {method!r} is {float(loss.detach())} in epoch {epoch + 1}", fix="a lower --lr"
            )


def _extra(
    method: str,
    head: AdaptedHead,
    critic: torch.nn.Module,
    source: torch.Tensor,
    target: torch.Tensor,
    progress: float,
) -> torch.Tensor:
    match method:
        case "coral":
            return losses.coral_loss(source, target)
        case "mcc":
            return losses.reversal_strength(progress) * losses.mcc_loss(head.classifier(target))
        case "dann":
            return losses.dann_loss(critic, source, target, losses.reversal_strength(progress))
        case "mmd":
            return losses.reversal_strength(progress) * losses.mmd_loss(source, target)
    return torch.zeros(())
