"""Who watches a fine-tune: the command line's progress, and the trackers of plugins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from headstock.finetune.recipe import Recipe
from headstock.hookspecs import FinetuneCallback
from headstock.records import BackboneIdentity


class Observer:
    """Told what happens; does nothing by itself. Override what you want to see."""

    def say(self, message: str) -> None:
        """One line that a person should read: what was guessed, resumed, dropped."""

    def features(self, done: int, total: int) -> None:
        """The backbone has run on `done` of `total` samples that the cache did not know."""

    def start(self, recipe: Recipe, done: int) -> None:
        """Training begins, or goes on after `done` epochs."""

    def epoch(self, figures: Mapping[str, Any]) -> None:
        """One epoch ended: `epoch`, `phase`, `live` (its layer groups), `loss`, `validation_loss`, `learning_rate`, the
        metric, `seconds`, `rows_per_second` of its training part, `padding` (share of the backbone's work that is
        none) and `peak_memory_bytes`."""

    def end(self) -> None:
        """Training ended, well or not."""


class Trackers:
    """The callbacks of plugins; one that fails is reported once and told nothing more."""

    def __init__(self, callbacks: Sequence[FinetuneCallback], say: Callable[[str], None]) -> None:
        self._callbacks = list(callbacks)
        self._say = say

    @contextmanager
    def following(self, recipe: Recipe, backbone: BackboneIdentity) -> Iterator[None]:
        """The run begins or resumes, and happens inside; `end` tells of a good end, and this of any other.

        An interrupt too: a tracker that is never told would show the run as going on for ever.
        """
        self.start(recipe.to_json())
        try:
            yield
        except BaseException as error:
            self.end(backbone, {"failed": f"{type(error).__name__}: {error}"})
            raise

    def start(self, recipe: Mapping[str, Any]) -> None:
        """The run begins or resumes."""
        self._tell(lambda callback: callback.on_start(recipe))

    def epoch(self, number: int, figures: Mapping[str, Any]) -> None:
        """One epoch ended; only the figures that are numbers are passed on."""
        numbers = {key: float(value) for key, value in figures.items() if isinstance(value, int | float)}
        self._tell(lambda callback: callback.on_epoch(number, numbers))

    def end(self, backbone: BackboneIdentity, report: Mapping[str, Any]) -> None:
        """The run ended."""
        self._tell(lambda callback: callback.on_end(backbone, report))

    def _tell(self, message: Callable[[FinetuneCallback], None]) -> None:
        for callback in list(self._callbacks):
            try:
                message(callback)
            except Exception as error:
                # A tracker may never stop a run that somebody waits for; it is named, so it can be mended.
                self._callbacks.remove(callback)
                self._say(
                    f"warning: tracker {type(callback).__module__}.{type(callback).__qualname__} failed and is "
                    f"left out of this run: {type(error).__name__}: {error}"
                )
