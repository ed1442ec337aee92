"""Where the runs of an adaptation begin, and what becomes of their epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from headstock.digest import short
from headstock.finetune import checkpoint
from headstock.finetune.checkpoint import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headstock.finetune.observer import Observer, Trackers
    from headstock.finetune.recipe import Recipe
    from headstock.finetune.run import Part, RunFolder


class Journal:
    """Nobody's: every run begins at its beginning, and its epochs are forgotten."""

    def begin(self, method: str, seed: int, module: torch.nn.Module) -> State:
        """Where the run of `method` and `seed` stands, which trains `module`."""
        return State()

    def epoch(self, method: str, seed: int, state: State) -> None:
        """One epoch of it has ended."""


class RunJournal(Journal):
    """Kept in the run folder, a checkpoint for each run; an observer is told one long training, trackers each run."""

    def __init__(
        self,
        folder: RunFolder,
        recipe: Recipe,
        methods: Sequence[str],
        seeds: Sequence[int],
        watcher: Observer,
        trackers: Trackers,
    ) -> None:
        """Runs come in the order of `methods`, each with all `seeds`; says how many epochs are done already."""
        self._watcher, self._trackers, self._epochs = watcher, trackers, recipe.strategy.epochs
        self._parts = {(method, seed): folder.part(f"{method}-{seed}") for method in methods for seed in seeds}
        self._done = dict.fromkeys(self._parts, 0) | {run: _length(part) for run, part in self._parts.items()}
        most, done = self._epochs * len(self._parts), sum(self._done.values())
        if done:
            watcher.say(f"resuming run {short(recipe.digest)} after epoch {done} of at most {most}")
        watcher.start(recipe, done)

    def begin(self, method: str, seed: int, module: torch.nn.Module) -> State:
        """From the last checkpoint on."""
        from headstock.finetune.training import read_state

        state = read_state(self._parts[method, seed], module, self._watcher.say)
        self._done[method, seed] = len(state.history)
        if len(state.history) < self._epochs:
            self._watcher.say(f"training {method}, seed {seed}")
        return state

    def epoch(self, method: str, seed: int, state: State) -> None:
        """Write the checkpoint, then tell."""
        self._parts[method, seed].write_checkpoint(checkpoint.dump(state))
        self._done[method, seed] = len(state.history)
        figures = state.history[-1]
        # A curve of its own for each run, over its own epochs; first, since a watcher may interrupt.
        self._trackers.epoch(len(state.history), {f"{method}-{seed}/{name}": one for name, one in figures.items()})
        self._watcher.epoch({**figures, "epoch": sum(self._done.values()), "phase": f"{method}, seed {seed}"})


def _length(part: Part) -> int:
    """Epochs that are done; none where the checkpoint cannot be read, which `begin` says."""
    data = part.read_checkpoint()
    state = None if data is None else checkpoint.load(data)
    return 0 if state is None else len(state.history)
