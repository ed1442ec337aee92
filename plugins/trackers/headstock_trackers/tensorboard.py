"""Fine-tunes as TensorBoard shows them: a curve per figure, the recipe and the end as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headstock.hookspecs import FinetuneCallback
from headstock.records import BackboneIdentity
from headstock_trackers.recipe import run_name


class TensorBoardCallback(FinetuneCallback):
    """Writes event files below `folder`, one sub-folder per recipe: `tensorboard --logdir FOLDER`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None

    def on_start(self, recipe: Mapping[str, Any]) -> None:
        """Open the recipe's folder; a resumed run adds to what is there."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self._folder / run_name(recipe)))
        self._writer.add_text("recipe", _block(recipe))

    def on_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        """One point per figure."""
        for name, value in figures.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def on_end(self, identity: BackboneIdentity | None, report: Mapping[str, Any]) -> None:
        """The final metrics with their intervals, or why the run failed."""
        if "failed" in report:
            self._writer.add_text("failed", str(report["failed"]))
        for metric in report.get("metrics", ()):
            for key in ("value", "low", "high"):
                self._writer.add_scalar(f"final/{metric['name']}/{key}", metric[key], 0)
        self._writer.close()


def _block(value: Mapping[str, Any]) -> str:
    # Markdown shows an indented block as it is.
    return "\n".join("    " + line for line in json.dumps(value, indent=2, ensure_ascii=False).splitlines())
