"""The one training loop: runs a strategy's phases, epoch by epoch, each a pure function of the state before it."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from headstock.errors import HeadstockError
from headstock.finetune.adamw import AdamW
from headstock.finetune.checkpoint import State, Tensors
from headstock.finetune.recipe import Recipe
from headstock.finetune.strategy import Phase, rate
from headstock.finetune.values import Values, pick
from headstock.hookspecs import HeadType, Targets


@dataclass(frozen=True, slots=True)
class Job:
    """What the loop trains."""

    recipe: Recipe
    head_type: HeadType
    features: Callable[[], tuple[Values, Values]]
    """Training and validation features; called every epoch, so that it may compute them anew."""
    train: Targets
    validation: Targets


@contextmanager
def seeded(seed: int, *path: object) -> Iterator[None]:
    """Torch's generator seeded from `seed` and `path` inside, and as it was before outside."""
    name = "/".join(map(str, (seed, *path)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") >> 1)
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread: sums then have one order on every machine, and a head is too small to gain from more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train(job: Job, head: torch.nn.Module, state: State, after_epoch: Callable[[State], None]) -> None:
    """Run every phase from where `state` stands; `head` ends with the best weights.

    `after_epoch` is called with the state after each epoch, to save and to show it. Raises `HeadstockError` if the
    loss stops being a number.
    """
    if state.head:
        head.load_state_dict(state.head)
    with one_thread():
        for index in range(state.phase, len(job.recipe.strategy.phases)):
            _run_phase(job, job.recipe.strategy.phases[index], head, state, after_epoch)
            head.load_state_dict(state.best)
            state.phase, state.epoch, state.stale = index + 1, 0, 0
            state.head, state.optimizer = _copy(head), {}


def outputs_of(head: torch.nn.Module, features: Values) -> Values:
    """Raw outputs of the head in eval mode: [n, ...], or a list of arrays [positions, out]."""
    head.eval()
    with torch.no_grad():
        if isinstance(features, list):
            return [head(torch.from_numpy(row)[None])[0].numpy() for row in features]
        result: Values = head(torch.from_numpy(features)).numpy()
    return result


def _run_phase(
    job: Job, phase: Phase, head: torch.nn.Module, state: State, after_epoch: Callable[[State], None]
) -> None:
    optimizer = AdamW(head.parameters(), job.recipe.optimizer, state.optimizer)
    patience = job.recipe.stopping.patience
    # What has nothing to train is finished when it is built; one epoch judges it.
    most = phase.epochs if any(p.requires_grad for p in head.parameters()) else 1
    while state.epoch < most and not (patience and state.stale >= patience):
        began = time.perf_counter()
        rows, held_out = job.features()
        loss, learning_rate = _epoch(job, phase, head, optimizer, rows, state)
        state.epoch += 1
        value, validation_loss = _judge(job, head, held_out)
        state.history.append({
            "epoch": len(state.history) + 1,
            "phase": phase.name,
            "loss": loss,
            "validation_loss": validation_loss,
            job.head_type.primary_metric: value,
            "learning_rate": learning_rate,
            "seconds": round(time.perf_counter() - began, 6),
        })  # fmt: skip
        _keep_best(job, head, state, value, validation_loss)
        state.head, state.optimizer = _copy(head), {n: t.clone() for n, t in optimizer.state.items()}
        after_epoch(state)


def _epoch(
    job: Job,
    phase: Phase,
    head: torch.nn.Module,
    optimizer: AdamW,
    rows: Values,
    state: State,
) -> tuple[float, float]:
    """One pass over the training rows; returns the mean loss and the last learning rate."""
    size = job.recipe.optimizer.batch_size
    batches = math.ceil(len(rows) / size)
    total = learning_rate = 0.0
    head.train()
    with seeded(job.recipe.seed, "epoch", state.phase, state.epoch):
        for number, part in enumerate(torch.split(torch.randperm(len(rows)), size)):
            picked = part.tolist()
            learning_rate = rate(phase, state.epoch * batches + number, phase.epochs * batches)
            loss = job.head_type.loss(head, job.head_type.collate(pick(rows, picked), job.train.only(picked)))
            if loss.requires_grad:
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step(learning_rate)
            total += float(loss.detach()) * len(picked)
    if not math.isfinite(total):
        raise HeadstockError(
            f"the loss is {total} in epoch {len(state.history) + 1} of phase {phase.name!r}",
            fix=f"a lower learning rate: --lr {phase.learning_rate / 10:g}",
        )
    return total / len(rows), learning_rate


def _judge(job: Job, head: torch.nn.Module, features: Values) -> tuple[float, float]:
    """Primary metric and loss on the validation rows."""
    outputs = outputs_of(head, features)
    # Padded all at once, rows of different lengths would need memory for the longest times their number.
    size = job.recipe.optimizer.batch_size if isinstance(features, list) else len(features)
    loss = 0.0
    with torch.no_grad(), seeded(job.recipe.seed, "judge"):
        for start in range(0, len(features), size):
            part = range(start, min(start + size, len(features)))
            batch = job.head_type.collate(pick(features, part), job.validation.only(part))
            loss += float(job.head_type.loss(head, batch)) * (len(part) / len(features))
    metrics = job.head_type.metrics(outputs, job.validation, job.recipe.seed)
    value = next(m.value for m in metrics if m.name == job.head_type.primary_metric)
    return value, loss


def _keep_best(job: Job, head: torch.nn.Module, state: State, value: float, loss: float) -> None:
    # A small validation set makes the metric coarse; among equals the lower loss is the better head.
    gain, drop = value - state.best_value, state.best_loss - loss
    margin = job.recipe.stopping.min_delta
    if not state.best_epoch or gain > margin or (gain >= 0 and drop > margin):
        state.best_epoch, state.best_value, state.best_loss = len(state.history), value, loss
        state.best, state.stale = _copy(head), 0
    else:
        state.stale += 1


def _copy(head: torch.nn.Module) -> Tensors:
    return {name: tensor.detach().clone() for name, tensor in head.state_dict().items()}
