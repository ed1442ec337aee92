"""What `headstock fine-tune` shows while it works: a bar on a terminal, lines elsewhere, always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from headstock.finetune.observer import Observer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from headstock.finetune.recipe import Recipe


def open_observer(*, verbose: bool, quiet: bool) -> Observer:
    """The observer that suits stderr: bars on a terminal unless `verbose`, else lines; `quiet` keeps only warnings."""
    if quiet and not verbose:
        return Lines(epochs=False)
    if sys.stderr.isatty() and not verbose:
        return Bars()
    return Lines(epochs=verbose)


@contextmanager
def resumable(observer: Observer) -> Iterator[None]:
    """A run that goes on where it was when it is started again; an interrupt says so."""
    try:
        yield
    except KeyboardInterrupt:
        observer.say("interrupted; run the same command again to go on from the last epoch")
        raise


class Lines(Observer):
    """Plain lines; one per epoch if asked."""

    def __init__(self, *, epochs: bool) -> None:
        self._epochs = epochs

    def say(self, message: str) -> None:
        """Print at once."""
        click.echo(message, err=True)

    def features(self, done: int, total: int) -> None:
        """Tell the end of the feature pass."""
        if self._epochs and done == total:
            click.echo(f"features: the backbone ran on {total} samples", err=True)

    def epoch(self, figures: Mapping[str, Any]) -> None:
        """Print one epoch's figures."""
        if self._epochs:
            click.echo(f"epoch {figures['epoch']}: {describe(figures)}, {figures['seconds']:.3f} s", err=True)


class Bars(Observer):
    """Progress bars with the time left; for terminals."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress: Progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=Console(stderr=True),
        )
        self._features: TaskID | None = None
        self._began, self._phase = 0.0, ""
        self._epochs: TaskID | None = None

    def say(self, message: str) -> None:
        """Print above the bars."""
        self._progress.console.print(message, markup=False, highlight=False)

    def features(self, done: int, total: int) -> None:
        """Move the bar of the feature pass."""
        if self._features is None:
            self._progress.start()
            self._features = self._progress.add_task("features", total=total, figures="")
            self._began = time.perf_counter()
        passed = time.perf_counter() - self._began
        rate = f"{done / passed:.0f} rows/s" if passed > 0 else ""
        self._progress.update(self._features, completed=done, figures=rate)

    def start(self, recipe: Recipe, done: int) -> None:
        """Open the bar of the epochs."""
        self._progress.start()
        self._epochs = self._progress.add_task("epochs", total=recipe.strategy.epochs, completed=done, figures="")

    def epoch(self, figures: Mapping[str, Any]) -> None:
        """Move it."""
        if self._epochs is not None:
            if figures["phase"] != self._phase:
                # Once per phase and above the bars: beside one there is no room for the names of layer groups.
                self._phase = figures["phase"]
                self.say(f"phase {self._phase}: learning {_learning(figures)}")
            self._progress.update(self._epochs, completed=figures["epoch"], figures=brief(figures))

    def end(self) -> None:
        """Leave the bars as they stand."""
        self._progress.stop()


def brief(figures: Mapping[str, Any]) -> str:
    """`loss 0.412  accuracy 0.875  310 rows/s  padding 4 %  412 MB`: what fits beside a bar."""
    return "  ".join(
        [*(f"{name} {value:.3f}" for name, value in _learned(figures, ("validation_loss",))), *_cost(figures)]
    )


def describe(figures: Mapping[str, Any]) -> str:
    """`head: loss 0.412, validation_loss 0.520, accuracy 0.875, live none, 310 rows/s, 412 MB`: an epoch in words."""
    numbers = [f"{name} {value:.4f}" for name, value in _learned(figures, ())]
    return f"{figures['phase']}: " + ", ".join([*numbers, f"live {live_of(figures)}", *_cost(figures)])


def live_of(figures: Mapping[str, Any]) -> str:
    """`encoder.4 to encoder.5`: the layer groups that learn, the first and the last where there are more."""
    live = figures["live"]
    if len(live) > 2:
        return f"{live[0]} to {live[-1]}"
    return " and ".join(live) or "none"


def _learning(figures: Mapping[str, Any]) -> str:
    return f"{live_of(figures)} and the head" if figures["live"] else "the head"


_UNTOLD = ("epoch", "phase", "live", "seconds", "learning_rate", "rows_per_second", "padding", "peak_memory_bytes")


def _learned(figures: Mapping[str, Any], besides: Sequence[str]) -> list[tuple[str, float]]:
    return [(name, value) for name, value in figures.items() if name not in (*_UNTOLD, *besides)]


def _cost(figures: Mapping[str, Any]) -> list[str]:
    padding = [f"padding {100 * figures['padding']:.0f} %"] if figures["padding"] else []
    return [f"{figures['rows_per_second']:.0f} rows/s", *padding, f"{figures['peak_memory_bytes'] / 1e6:.0f} MB"]
