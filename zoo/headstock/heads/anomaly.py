"""Anomaly detection: how far each place of a sample is from everything normal; trained on normal samples alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from headstock.errors import InvalidInput
from headstock.hookspecs import Batch, HeadType, LinearForm, Metric, Targets

if TYPE_CHECKING:
    import numpy as np
    import torch

    from headstock.heads.memory_bank import MemoryBank

NORMAL = ("", "good", "normal", "ok")
"""Labels, in small letters, of rows that are as they should be; an empty one too. Every other is an anomaly."""


class AnomalyHead(HeadType):
    """A memory of normal places on a frozen feature map (Roth et al., "Towards total recall in industrial anomaly
    detection", 2022: PatchCore, with the largest distance as a sample's score)."""

    task: ClassVar[str] = "anomaly-detection"
    columns: ClassVar[tuple[str, ...]] = ("label",)
    optional: ClassVar[tuple[str, ...]] = ("label",)
    primary_metric: ClassVar[str] = "auroc"

    def default_options(self) -> Mapping[str, Any]:
        """`neighbourhood`: edge of the square of places that are averaged; `share` of the normal places to remember, at
        most `most`; `quantile` of the normal samples' own scores that becomes the threshold."""
        return {"neighbourhood": 3, "share": 0.1, "most": 4000, "quantile": 0.99}

    def encode(self, columns: Mapping[str, Sequence[Any]], labels: Sequence[str] | None = None) -> Targets:
        """INT64 [n]: 0 for normal rows (see `NORMAL`), 1 for anomalies. At least two normal rows are needed."""
        import numpy as np

        cells = ["" if cell is None or cell != cell else str(cell).strip().lower() for cell in columns["label"]]
        values = np.array([cell not in NORMAL for cell in cells], np.int64)
        if (values == 0).sum() < 2:
            raise InvalidInput(
                f"{int((values == 0).sum())} of {len(cells)} rows are normal; anomaly detection learns from "
                "normal rows and needs at least two",
                fix=f"label normal rows one of {', '.join(NORMAL[1:])}, or leave their label empty",
            )
        return Targets(values, ("normal", "anomalous"))

    def build(self, width: int, targets: Targets, options: Mapping[str, Any]) -> torch.nn.Module:
        """An empty memory, filled by `fit_input_statistics`. Raises `InvalidInput` for options out of range."""
        from headstock.heads.memory_bank import MemoryBank

        _check(options, "neighbourhood", lambda v: type(v) is int and v in (1, 3, 5, 7), "1, 3, 5 or 7")
        _check(options, "share", lambda v: isinstance(v, float) and 0 < v <= 1, "a share above 0, at most 1")
        _check(options, "most", lambda v: type(v) is int and 1 <= v <= 100_000, "a whole number from 1 to 100000")
        _check(options, "quantile", lambda v: isinstance(v, float) and 0 < v <= 1, "a share above 0, at most 1")
        return MemoryBank(width, targets.values == 0, **options)

    def loss(self, head: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Mean score of the normal rows, in units of the threshold; there is nothing that it could teach."""
        scores = head(batch.features).flatten(1).amax(dim=1)
        normal = batch.targets == 0
        mean: torch.Tensor = (scores * normal).sum() / normal.sum().clamp(min=1)
        return mean

    def metrics(self, outputs: np.ndarray, targets: Targets, seed: int) -> Sequence[Metric]:
        """AUROC and AUPRC of anomalies (bootstrap; without any, nothing is known), and the share of normal rows that
        stay below the threshold (Wilson)."""
        from headstock import metrics

        scores, anomalous = outputs.reshape(len(outputs), -1).max(axis=1), targets.values == 1
        passed = int((scores[~anomalous] <= 1).sum())
        return (
            metrics.auroc(scores, anomalous, seed),
            metrics.auprc(scores, anomalous, seed),
            metrics.wilson("normal_passed", passed, int((~anomalous).sum())),
        )

    def linear_form(self, head: torch.nn.Module) -> LinearForm | None:
        """None: the nearest of many is not linear."""
        return None

    def graph_form(self, head: torch.nn.Module) -> bytes:
        """The search as ONNX, features [n, height, width, d] to distances [n, height, width]."""
        from headstock.heads.memory_graph import memory_graph

        return memory_graph(cast("MemoryBank", head))

    def postprocess(self, targets: Targets, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Score, decision and map."""
        return {"kind": "anomaly"}


def _check(options: Mapping[str, Any], name: str, fits: Any, expected: str) -> None:
    if name not in options or not fits(options[name]):
        raise InvalidInput(f"option {name} is {options.get(name)!r}; expected {expected}")
