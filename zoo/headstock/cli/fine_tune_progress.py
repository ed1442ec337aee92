"""What `headstock fine-tune` shows while it works: a bar on a terminal, lines elsewhere, always on stderr."""

from __future__ import annotations

import sys
from collections.abc import Mapping
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
        self._epochs: TaskID | None = None

    def say(self, message: str) -> None:
        """Print above the bars."""
        self._progress.console.print(message, markup=False, highlight=False)

    def features(self, done: int, total: int) -> None:
        """Move the bar of the feature pass."""
        if self._features is None:
            self._progress.start()
            self._features = self._progress.add_task("features", total=total, figures="")
        self._progress.update(self._features, completed=done)

    def start(self, recipe: Recipe, done: int) -> None:
        """Open the bar of the epochs."""
        self._progress.start()
        self._epochs = self._progress.add_task("epochs", total=recipe.strategy.epochs, completed=done, figures="")

    def epoch(self, figures: Mapping[str, Any]) -> None:
        """Move it."""
        if self._epochs is not None:
            self._progress.update(self._epochs, completed=figures["epoch"], figures=brief(figures))

    def end(self) -> None:
        """Leave the bars as they stand."""
        self._progress.stop()


def brief(figures: Mapping[str, Any]) -> str:
    """`loss 0.412  accuracy 0.875`: what fits beside a bar in 80 columns."""
    skipped = ("epoch", "phase", "seconds", "learning_rate", "validation_loss")
    return "  ".join(f"{name} {value:.3f}" for name, value in figures.items() if name not in skipped)


def describe(figures: Mapping[str, Any]) -> str:
    """`head: loss 0.412, validation_loss 0.520, accuracy 0.875`: an epoch's figures in words."""
    skipped = ("epoch", "phase", "seconds", "learning_rate")
    numbers = ", ".join(f"{name} {value:.4f}" for name, value in figures.items() if name not in skipped)
    return f"{figures['phase']}: {numbers}"
