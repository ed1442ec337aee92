"""What a run shows of itself while it works."""

from __future__ import annotations

import io
from typing import Any

import pytest

from headstock.cli.fine_tune_progress import Bars, Lines, brief, describe, live_of

FIGURES: dict[str, Any] = {
    "epoch": 3,
    "phase": "fine-tune",
    "live": ["embeddings", "encoder.0", "encoder.1"],
    "loss": 0.25,
    "validation_loss": 0.5,
    "accuracy": 0.875,
    "learning_rate": 1e-3,
    "seconds": 2.0,
    "rows_per_second": 310.4,
    "padding": 0.0412,
    "peak_memory_bytes": 412_000_000,
}


def test_a_line_names_phase_live_groups_loss_speed_padding_and_memory() -> None:
    assert describe(FIGURES) == (
        "fine-tune: loss 0.2500, validation_loss 0.5000, accuracy 0.8750, live embeddings to encoder.1, 310 rows/s, "
        "padding 4 %, 412 MB"
    )


def test_beside_a_bar_stands_what_fits() -> None:
    assert brief(FIGURES) == "loss 0.250  accuracy 0.875  310 rows/s  padding 4 %  412 MB"


@pytest.mark.parametrize(
    "live, words", [([], "none"), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a to c")]
)
def test_live_groups_are_told_by_the_first_and_the_last(live: list[str], words: str) -> None:
    assert live_of({"live": live}) == words


def test_a_phase_in_which_the_head_alone_learns_has_no_padding() -> None:
    frozen = FIGURES | {"phase": "head", "live": [], "padding": 0.0}
    assert "padding" not in describe(frozen)
    assert "live none" in describe(frozen)


def test_bars_show_the_phase_the_live_groups_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from headstock.finetune.recipe import Recipe
    from headstock.finetune.strategy import Pace, built_in

    bars, out = Bars(), io.StringIO()
    bars._progress.live.console = Console(file=out, force_terminal=True, width=200)
    recipe = Recipe.model_construct(strategy=built_in("lp-ft", Pace(), ("embeddings", "encoder.0")))
    bars.features(5, 10)
    bars.start(recipe, 0)
    bars.epoch(FIGURES)
    bars.epoch(FIGURES | {"epoch": 4})
    task = bars._progress.tasks[-1]
    assert out.getvalue().count("phase fine-tune: learning embeddings to encoder.1 and the head") == 1
    assert task.fields["figures"] == brief(FIGURES)
    assert (task.completed, task.total) == (4, 65)
    assert any(type(column).__name__ == "TimeRemainingColumn" for column in bars._progress.columns)
    assert bars._progress.tasks[0].fields["figures"].endswith("rows/s")
    bars.end()


def test_lines_tell_every_epoch_only_if_asked(capsys: pytest.CaptureFixture[str]) -> None:
    Lines(epochs=False).epoch(FIGURES)
    assert capsys.readouterr().err == ""
    Lines(epochs=True).epoch(FIGURES)
    assert capsys.readouterr().err.startswith("epoch 3: fine-tune: loss")
