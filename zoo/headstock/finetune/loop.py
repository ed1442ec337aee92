"""The one training loop: runs a strategy's phases, epoch by epoch, each a pure function of the state before it."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import torch

from headstock.errors import HeadstockError
from headstock.finetune.adamw import AdamW
from headstock.finetune.body import Body
from headstock.finetune.checkpoint import State, Tensors
from headstock.finetune.course import Course
from headstock.finetune.learner import Learner
from headstock.finetune.strategy import Phase, rate
from headstock.finetune.team import Team
from headstock.finetune.values import Values, pick
from headstock.hookspecs import Batch, HeadType, Targets
from headstock.memory import peak_memory

Loss = Callable[[torch.nn.Module, Batch, Sequence[int], float], torch.Tensor]
"""Of the head, a batch, its rows' places in the training rows, and the share of the phase's steps that are done."""


class Exercise(Protocol):
    """What is learned without labels: other views of the rows every epoch, so no features can be kept."""

    def batch(self, learner: Learner, numbers: Sequence[int]) -> Batch:
        """A view of the rows of these numbers, with features that the body computes now."""

    def judge(self, learner: Learner) -> tuple[float, float]:
        """Figure and loss on the validation rows, always of the same views."""


@dataclass(frozen=True, slots=True)
class Job:
    """What the loop trains."""

    recipe: Course
    head_type: HeadType
    features: Callable[[], tuple[Values, Values]]
    """Training and validation features; called every epoch, so that it may compute them anew."""
    train: Targets
    validation: Targets
    body: Body | None = None
    """The backbone, where a phase lets it learn."""
    train_rows: Sequence[int] = ()
    """Row numbers of the training rows, which `body` reads."""
    validation_rows: Sequence[int] = ()
    loss: Loss | None = None
    """Instead of the head type's own in training."""
    team: Team = field(default_factory=Team)
    """Who trains the backbone together."""
    exercise: Exercise | None = None
    """Makes the batches and judges, where there are no labels; the best epoch is then that of the smallest loss."""
    keeps_last: bool = False
    """True where the validation rows cannot tell which epoch is best, as they are of another kind than those that the
    head is for: the last one is kept."""

    def loss_of(self, head: torch.nn.Module, batch: Batch, places: Sequence[int], progress: float) -> torch.Tensor:
        """What a training step makes smaller."""
        return self.head_type.loss(head, batch) if self.loss is None else self.loss(head, batch, places, progress)


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
    """Run every phase from where `state` stands; `head`, and the body where there is one, end with the best weights.

    `after_epoch` is called with the state after each epoch, to save and to show it. Raises `HeadstockError` if the
    loss stops being a number.
    """
    learner = Learner(job.recipe, job.head_type, head, job.body)
    if state.head:
        learner.load(state.head)
    strategy = job.recipe.strategy
    with one_thread():
        for index in range(state.phase, len(strategy.phases)):
            _run_phase(job, strategy.phases[index], learner, state, after_epoch)
            learner.load(state.best)
            if index == 0 and strategy.interpolation < 1:
                state.anchor = learner.copy()
            state.phase, state.epoch, state.stale = index + 1, 0, 0
            state.head, state.optimizer = learner.copy(), {}
        if state.anchor:
            learner.load(_between(state.anchor, learner.copy(), strategy.interpolation))
    head.eval()
    if job.body is not None:
        job.body.rest()


def _between(start: Tensors, end: Tensors, share: float) -> Tensors:
    """`share` of the way from `start` to `end`; counters and other whole numbers are those of the end."""
    return {n: start[n].to(t.device).lerp(t, share) if t.is_floating_point() else t for n, t in end.items()}


def outputs_of(head: torch.nn.Module, features: Values) -> Values:
    """Raw outputs of the head in eval mode: [n, ...], or a list of arrays [positions, out]."""
    head.eval()
    with torch.no_grad():
        if isinstance(features, list):
            return [head(torch.from_numpy(row)[None])[0].numpy() for row in features]
        result: Values = head(torch.from_numpy(features)).numpy()
    return result


def _run_phase(job: Job, phase: Phase, learner: Learner, state: State, after_epoch: Callable[[State], None]) -> None:
    optimizer = learner.begin(phase, state.optimizer)
    patience = job.recipe.stopping.patience
    # What has nothing to train is finished when it is built; one epoch judges it.
    most = phase.epochs if phase.live or any(p.requires_grad for p in learner.head.parameters()) else 1
    while state.epoch < most and not (patience and state.stale >= patience):
        began, padding = time.perf_counter(), 0.0
        if job.exercise is not None:
            loss, learning_rate, padding = _live_epoch(job, phase, learner, optimizer, state)
            trained = time.perf_counter() - began
            value, validation_loss = job.exercise.judge(learner)
        elif learner.moved_before(state):
            loss, learning_rate, padding = _live_epoch(job, phase, learner, optimizer, state)
            trained = time.perf_counter() - began
            value, validation_loss = _judge(job, learner.head, learner.values(job.validation_rows))
        else:
            rows, held_out = job.features()
            loss, learning_rate = _epoch(job, phase, learner, optimizer, rows, state)
            trained = time.perf_counter() - began
            value, validation_loss = _judge(job, learner.head, held_out)
        state.epoch += 1
        state.history.append({
            "epoch": len(state.history) + 1,
            "phase": phase.name,
            "live": list(phase.live),
            "loss": loss,
            "validation_loss": validation_loss,
            job.head_type.primary_metric: value,
            "learning_rate": learning_rate,
            "seconds": round(time.perf_counter() - began, 6),
            "rows_per_second": round(len(job.train.values) / max(trained, 1e-9), 1),
            "padding": padding,
            "peak_memory_bytes": peak_memory(),
        })  # fmt: skip
        _keep_best(job, learner, state, value if job.exercise is None else -validation_loss, validation_loss)
        state.head, state.optimizer = learner.copy(), {n: t.clone() for n, t in optimizer.state.items()}
        after_epoch(state)


def _epoch(
    job: Job, phase: Phase, learner: Learner, optimizer: AdamW, rows: Values, state: State
) -> tuple[float, float]:
    """One pass over the training rows' features; returns the mean loss and the head's last learning rate."""
    with seeded(job.recipe.seed, "epoch", state.phase, state.epoch):
        learner.head.train()
        order = torch.randperm(len(rows))
        batches = [part.tolist() for part in torch.split(order, job.recipe.optimizer.batch_size)]

        def batch(picked: list[int]) -> Batch:
            return job.head_type.collate(pick(rows, picked), job.train.only(picked))

        # Cheap, and every process has all the features: each does the whole of it, and none has to be told.
        return _steps(job, phase, learner, optimizer, state, batches, batch, Team())


def _live_epoch(job: Job, phase: Phase, learner: Learner, optimizer: AdamW, state: State) -> tuple[float, float, float]:
    """The same through the backbone, whose live groups learn too; and the share of its work that is padding."""
    body = learner.body
    with seeded(job.recipe.seed, "epoch", state.phase, state.epoch):
        learner.head.train()
        body.set_live(phase.live)
        order = torch.randperm(len(job.train_rows)).tolist()
        batches = list(body.batches(job.train_rows, order, job.recipe.optimizer.batch_size))
        batches = [batches[i] for i in torch.randperm(len(batches)).tolist()]

        def batch(picked: list[int]) -> Batch:
            numbers = [job.train_rows[i] for i in picked]
            if job.exercise is not None:
                return job.exercise.batch(learner, numbers)
            return learner.batch(numbers, job.train.only(picked))

        figures = _steps(job, phase, learner, optimizer, state, batches, batch, job.team)
        job.team.mean_buffers([*body.buffers(phase.live), *learner.head.buffers()])
        return *figures, _padding(job, body, batches)


def _padding(job: Job, body: Body, batches: Sequence[list[int]]) -> float:
    """Share of the positions in these batches that belong to no row: each row is as long as its batch's longest."""
    lengths = [[body.rows_length(job.train_rows[place]) for place in batch] for batch in batches]
    paid = sum(len(batch) * max(batch) for batch in lengths)
    return round(1 - sum(map(sum, lengths)) / paid, 6) if paid else 0.0


def _steps(
    job: Job,
    phase: Phase,
    learner: Learner,
    optimizer: AdamW,
    state: State,
    batches: Sequence[list[int]],
    batch: Callable[[list[int]], Batch],
    team: Team,
) -> tuple[float, float]:
    total = learning_rate = 0.0
    rows = sum(map(len, batches))
    for number, picked in enumerate(batches):
        step, steps = state.epoch * len(batches) + number, phase.epochs * len(batches)
        learning_rate = rate(phase.schedule, phase.learning_rate, step, steps)
        mine = team.part(picked)
        if mine:
            loss = job.loss_of(learner.head, batch(mine), mine, step / steps)
            total += float(loss.detach()) * len(mine)
            if loss.requires_grad:
                loss = loss if team.size == 1 else loss * (len(mine) / len(picked))
                penalty = learner.penalty() if team.leads else None
                loss = loss if penalty is None else loss + penalty.to(loss.device)
                loss.backward()  # type: ignore[no-untyped-call]
        team.add_gradients(optimizer.parameters)
        if any(parameter.grad is not None for parameter in optimizer.parameters):
            optimizer.step(learning_rate)
    total = team.total(total)
    if not math.isfinite(total):
        raise HeadstockError(
            f"the loss is {total} in epoch {len(state.history) + 1} of phase {phase.name!r}",
            fix=f"a lower learning rate: --lr {phase.learning_rate / 10:g}"
            + (f" --backbone-lr {phase.backbone_rate / 10:g}" if phase.live else ""),
        )
    return total / rows, learning_rate


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


def _keep_best(job: Job, learner: Learner, state: State, value: float, loss: float) -> None:
    # A small validation set makes the metric coarse; among equals the lower loss is the better head.
    gain, drop = value - state.best_value, state.best_loss - loss
    margin = job.recipe.stopping.min_delta
    if job.keeps_last or not state.best_epoch or gain > margin or (gain >= 0 and drop > margin):
        state.best_epoch, state.best_value, state.best_loss = len(state.history), value, loss
        state.best, state.stale = learner.copy(), 0
    else:
        state.stale += 1
