"""Methods side by side: trained over seeds, judged without target labels, one chosen, and a verdict in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from headstock.adaptation import losses, validators
from headstock.adaptation.domains import Domains
from headstock.adaptation.journal import Journal
from headstock.adaptation.label_shift import LOST, Answers, LabelShift, label_shift
from headstock.adaptation.network import AdaptedHead
from headstock.adaptation.settings import Settings
from headstock.adaptation.shape import Shape, shape_agreement
from headstock.adaptation.task import SOURCE_ONLY
from headstock.adaptation.training import logits_of, train_adapted

Floats = npt.NDArray[np.float32]
Verdict = Literal["adapted", "no gain", "adaptation failed"]

STABLE = 0.6
"""Seeds that agree less (kappa) make a method unstable."""


@dataclass(frozen=True, slots=True)
class Score:
    """One method, seed by seed."""

    method: str
    source_accuracy: tuple[float, ...]
    """On held-out source rows."""
    information: tuple[float, ...]
    density: tuple[float, ...]
    risk: tuple[float, ...]
    agreement: float
    """Of two seeds on the target rows, beyond chance (kappa)."""
    proportions: tuple[float, ...]
    """Class proportions of the target as the answers tell them, mean over seeds."""

    @property
    def stable(self) -> bool:
        """False if another seed would answer too differently."""
        return self.agreement >= STABLE


@dataclass(frozen=True, slots=True)
class Comparison:
    """All methods, and what follows."""

    scores: tuple[Score, ...]
    chosen: str
    head: AdaptedHead
    """Of the chosen method and the first seed."""
    verdict: Verdict
    reasons: tuple[str, ...]
    shape_agreement: Shape
    label_shift: LabelShift

    def to_json(self) -> dict[str, Any]:
        """All but the weights, for the report."""
        return {
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "chosen": self.chosen,
            "shape_agreement": asdict(self.shape_agreement),
            "label_shift": self.label_shift.to_json(),
            "methods": [{**asdict(score), "stable": score.stable} for score in self.scores],
        }


def compare(
    domains: Domains,
    methods: Sequence[str],
    seeds: Sequence[int],
    settings: Settings,
    journal: Journal | None = None,
) -> Comparison:
    """Train `source-only` and every one of `methods` with every seed, and choose without target labels.

    `journal` knows where each run begins, and is told its epochs.
    """
    scores, heads, answers = [], {}, []
    for method in compared(methods):
        trained = [train_adapted(method, domains, seed, settings, journal) for seed in seeds]
        given = _answers(method, trained, domains)
        scores.append(_score(method, trained, domains, given))
        answers.append(given)
        heads[method] = trained[0]
    chosen = choose(scores)
    shape = shape_agreement(domains.source, domains.target)
    verdict, reasons = _judge(chosen, scores[0], shape)
    shifted = label_shift(answers[1:], domains.truth, domains.labels, domains.classes)
    if shifted.flagged:
        reasons = (*reasons, _shift_words(shifted))
    return Comparison(tuple(scores), chosen.method, heads[chosen.method], verdict, reasons, shape, shifted)


def compared(methods: Sequence[str]) -> list[str]:
    """`source-only`, then each of `methods` once."""
    return list(dict.fromkeys((SOURCE_ONLY, *methods)))


def choose(scores: Sequence[Score]) -> Score:
    """The most informative on the target, among source-only and stable methods that still know the source.

    `scores[0]` is source-only, which is chosen where no method is left. Ties go to the earlier. Density and risk are
    reported and have no vote: density is highest where answers collapse into few classes, and risk, an error on source
    rows, is lowest for what never left the source (`docs/adaptation.md` has what that cost).
    """
    base = float(np.mean(scores[0].source_accuracy))
    able = [s for s in scores[1:] if s.stable and np.mean(s.source_accuracy) >= base - LOST]
    if not able:
        return scores[0]
    return max((scores[0], *able), key=lambda score: float(np.mean(score.information)))


def _answers(method: str, heads: Sequence[AdaptedHead], domains: Domains) -> Answers:
    seen = domains.view(method, domains.held_out)
    inside = [logits_of(head, seen).argmax(axis=1) for head in heads]
    target = [logits_of(head, domains.target).argmax(axis=1) for head in heads]
    return Answers(method, validators.agreement(target), inside, target)


def _score(method: str, heads: Sequence[AdaptedHead], domains: Domains, given: Answers) -> Score:
    held_out, truth, inside = domains.view(method, domains.held_out), domains.truth, given.inside
    target = [logits_of(head, domains.target) for head in heads]
    each = [
        validators.target_proportions(truth, one, other, domains.classes)
        for one, other in zip(inside, given.target, strict=True)
    ]
    found = np.mean(each, axis=0)
    return Score(
        method=method,
        source_accuracy=tuple(float((one == truth).mean()) for one in inside),
        information=tuple(validators.information(logits) for logits in target),
        density=tuple(validators.neighbourhood_density(logits) for logits in target),
        risk=tuple(
            validators.embedded_risk(one == truth, _weights(head, held_out, domains.target))
            for head, one in zip(heads, inside, strict=True)
        ),
        agreement=given.agreement,
        proportions=tuple(float(share) for share in found),
    )


def _weights(head: AdaptedHead, held_out: Floats, target: Floats) -> Floats:
    with torch.no_grad():
        rows = [head.represent(torch.from_numpy(features)).numpy() for features in (held_out, target)]
    scale = np.float32(max(float(rows[0].std()), 1e-6))
    source, wanted = ((block / scale).astype(np.float32) for block in rows)
    return losses.importance_weights(source, wanted)


def _shift_words(shift: LabelShift) -> str:
    return (
        "the target's class proportions differ from the source's (label shift): "
        f"total variation {shift.value:.2f} [{shift.low:.2f}, {shift.high:.2f}], and answers that keep the source's "
        "proportions are wrong for at least that share of the rows"
    )


def _judge(chosen: Score, base: Score, shape: Shape) -> tuple[Verdict, tuple[str, ...]]:
    if shape.high < 0:
        return "adaptation failed", (
            f"the target's features have another shape than the source's (correlation of skewness {shape.value:.2f} "
            f"[{shape.low:.2f}, {shape.high:.2f}]): it is not the source moved, and answers may be confidently wrong",
        )
    if chosen.method == base.method:
        why = "no method was stable over seeds and still knew the source better than source-only"
        if not base.stable:
            return "adaptation failed", (
                why,
                f"source-only itself agrees between seeds only by {base.agreement:.2f} (kappa)",
            )
        return "no gain", (why,)
    return "adapted", (
        f"{chosen.method} is the most informative on the target; seeds agree by {chosen.agreement:.2f} (kappa)",
    )
