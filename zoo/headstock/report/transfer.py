"""The section "transfer": all models on the same validation rows, the gain, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy.typing as npt

from headstock.hookspecs import Metric
from headstock.report.scoring import Scoring
from headstock.report.verdict import Gain, unpaired_gain

Array = npt.NDArray[Any]

CHOSEN, PROBE, SCRATCH = "chosen strategy", "linear probe", "from scratch"
_SAW_THE_SOURCE = (CHOSEN, PROBE)


def transfer(
    scoring: Scoring, answers: Mapping[str, Array], truth: Array, seed: int, seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Scores of all `answers` by model, and the gain of the chosen strategy over the best that saw the target alone."""
    scores = {name: scoring.score(found, truth, seed) for name, found in answers.items()}
    against = _best(scores)
    gain = scoring.gain(answers[CHOSEN], answers[against], truth, seed)
    probed = scoring.gain(answers[CHOSEN], answers[PROBE], truth, seed) if PROBE in answers else None
    complete = any(name not in (scoring.guess, *_SAW_THE_SOURCE) for name in answers)
    return _section(scoring.figure, scoring.method, scores, seconds, against, gain, probed, complete)


def transfer_of_metrics(figure: str, scores: Mapping[str, Metric], seconds: Mapping[str, float]) -> dict[str, Any]:
    """The same where all that is known of each model is its figure with an interval, as with answers of many parts."""
    against = _best(scores)
    gain = unpaired_gain(scores[CHOSEN], scores[against])
    probed = unpaired_gain(scores[CHOSEN], scores[PROBE]) if PROBE in scores else None
    return _section(figure, "MOVER", scores, seconds, against, gain, probed, True)


def _best(scores: Mapping[str, Metric]) -> str:
    """The best of those that learned from the target data alone, the first of those that tie."""
    names = [name for name in scores if name not in _SAW_THE_SOURCE]
    return max(names, key=lambda name: scores[name].value)


def _section(
    figure: str,
    method: str,
    scores: Mapping[str, Metric],
    seconds: Mapping[str, float],
    against: str,
    gain: Gain,
    probed: Gain | None,
    complete: bool,
) -> dict[str, Any]:
    return {
        # Beating a guess says nothing of transfer; losing to it does.
        "verdict": gain.word if complete or gain.word == "negative" else "not measured",
        "figure": figure,
        "gain": gain.value,
        "low": gain.low,
        "high": gain.high,
        "method": method,
        "against": against,
        "over_probe": None if probed is None else {"gain": probed.value, "low": probed.low, "high": probed.high},
        "accuracies": [
            {
                **asdict(score),
                "name": name,
                "target_only": name not in _SAW_THE_SOURCE,
                "seconds": seconds.get(name),
            }
            for name, score in scores.items()
        ],
    }
