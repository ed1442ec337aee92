"""Methods side by side: trained over seeds, judged without target labels, one chosen, and a verdict in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from headstock.adaptation import losses, validators
from headstock.adaptation.network import AdaptedHead
from headstock.adaptation.trainer import SOURCE_ONLY, Domains, Settings, logits_of, source_view, train_adapted

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Verdict = Literal["adapted", "no gain", "adaptation failed"]

STABLE = 0.6
"""Seeds that agree less (kappa) make a method unstable."""
MIRRORED = -0.3
"""Below this correlation of skewness the target is another shape, not the source moved."""
SHIFTED = 0.27
"""Total variation between class proportions of source and target that counts as label shift."""
_LOST = 0.15
"""Source accuracy that an adaptation may cost before it counts as broken."""


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
    shift: float
    """Total variation between them and the source's."""

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
    shape_agreement: float
    label_shift: bool

    def to_json(self) -> dict[str, Any]:
        """All but the weights, for the report."""
        return {
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "chosen": self.chosen,
            "shape_agreement": self.shape_agreement,
            "label_shift": self.label_shift,
            "methods": [{**asdict(score), "stable": score.stable} for score in self.scores],
        }


def compare(
    domains: Domains,
    held_out: Floats,
    truth: Labels,
    methods: Sequence[str],
    seeds: Sequence[int],
    settings: Settings,
    progress: Callable[[str, int], None] = lambda method, seed: None,
) -> Comparison:
    """Train `source-only` and every one of `methods` with every seed, and choose without target labels.

    `held_out` [k, d] with classes `truth` [k] are source rows that nothing trains on. `progress` is told each run.
    """
    scores, heads = [], {}
    for method in dict.fromkeys((SOURCE_ONLY, *methods)):
        trained = []
        for seed in seeds:
            progress(method, seed)
            trained.append(train_adapted(method, domains, seed, settings))
        scores.append(_score(method, trained, domains, held_out, truth))
        heads[method] = trained[0]
    chosen = choose(scores)
    shape = validators.shape_agreement(domains.source, domains.target)
    verdict, reasons = _judge(chosen, scores[0], shape)
    shifted = chosen.shift > SHIFTED
    if shifted:
        reasons = (*reasons, "the target's class proportions seem to differ from the source's: label shift")
    return Comparison(tuple(scores), chosen.method, heads[chosen.method], verdict, reasons, shape, shifted)


def choose(scores: Sequence[Score]) -> Score:
    """The best mean rank by information, density and risk, among stable methods that still know the source.

    `scores[0]` is source-only, which is chosen where no method is left. Ties go to the earlier.
    """
    base = float(np.mean(scores[0].source_accuracy))
    able = [s for s in scores[1:] if s.stable and np.mean(s.source_accuracy) >= base - _LOST]
    if not able:
        return scores[0]
    pool = [scores[0], *able]
    columns = [
        [float(np.mean(s.information)) for s in pool],
        [float(np.mean(s.density)) for s in pool],
        [-float(np.mean(s.risk)) for s in pool],
    ]
    ranks = [sum(sum(other > column[i] for other in column) for column in columns) for i in range(len(pool))]
    return pool[int(np.argmin(ranks))]


def _score(method: str, heads: Sequence[AdaptedHead], domains: Domains, held_out: Floats, truth: Labels) -> Score:
    held_out = source_view(method, domains, held_out)
    target = [logits_of(head, domains.target) for head in heads]
    answers = [logits.argmax(axis=1) for logits in target]
    inside = [logits_of(head, held_out).argmax(axis=1) for head in heads]
    each = [
        validators.target_proportions(truth, one, other, domains.classes)
        for one, other in zip(inside, answers, strict=True)
    ]
    found = np.mean(each, axis=0)
    source = np.bincount(domains.labels, minlength=domains.classes) / len(domains.labels)
    return Score(
        method=method,
        source_accuracy=tuple(float((one == truth).mean()) for one in inside),
        information=tuple(validators.information(logits) for logits in target),
        density=tuple(validators.neighbourhood_density(logits) for logits in target),
        risk=tuple(
            validators.embedded_risk(one == truth, _weights(head, held_out, domains.target))
            for head, one in zip(heads, inside, strict=True)
        ),
        agreement=validators.agreement(answers),
        proportions=tuple(float(share) for share in found),
        shift=float(np.abs(found - source).sum() / 2),
    )


def _weights(head: AdaptedHead, held_out: Floats, target: Floats) -> Floats:
    with torch.no_grad():
        rows = [head.represent(torch.from_numpy(features)).numpy() for features in (held_out, target)]
    scale = np.float32(max(float(rows[0].std()), 1e-6))
    source, wanted = ((block / scale).astype(np.float32) for block in rows)
    return losses.importance_weights(source, wanted)


def _judge(chosen: Score, base: Score, shape: float) -> tuple[Verdict, tuple[str, ...]]:
    if shape < MIRRORED:
        return "adaptation failed", (
            f"the target's features have another shape than the source's (correlation of skewness {shape:.2f}): "
            "it is not the source moved, and answers may be confidently wrong",
        )
    if chosen.method == base.method:
        why = "no method was stable over seeds and still knew the source better than source-only"
        if not base.stable:
            return "adaptation failed", (
                why,
                f"source-only itself agrees between seeds only by {base.agreement:.2f} (kappa)",
            )
        return "no gain", (why,)
    return "adapted", (f"{chosen.method} ranks best by the validators; seeds agree by {chosen.agreement:.2f} (kappa)",)
