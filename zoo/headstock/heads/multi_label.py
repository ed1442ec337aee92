"""Multi-label classification: any number of labels per sample, each decided by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from headstock.errors import InvalidInput
from headstock.hookspecs import Batch, HeadType, LinearForm, Metric, Targets

if TYPE_CHECKING:
    import numpy as np
    import torch


class MultiLabelHead(HeadType):
    """A linear probe on pooled features with one sigmoid per label, trained with binary cross-entropy."""

    task: ClassVar[str] = "multi-label"
    columns: ClassVar[tuple[str, ...]] = ("labels",)
    optional: ClassVar[tuple[str, ...]] = ("labels",)
    primary_metric: ClassVar[str] = "micro_f1"

    def default_options(self) -> Mapping[str, Any]:
        """`threshold`: the probability above which a label is answered."""
        return {"threshold": 0.5}

    def encode(self, columns: Mapping[str, Sequence[Any]], labels: Sequence[str] | None = None) -> Targets:
        """Membership BOOL [n, labels]; see `headstock.heads.labels.encode_label_sets` for how sets are written."""
        from headstock.heads.labels import encode_label_sets

        return encode_label_sets(columns["labels"], labels)

    def build(self, width: int, targets: Targets, options: Mapping[str, Any]) -> torch.nn.Module:
        """A linear map from `width` to one logit per label. Raises `InvalidInput` for a threshold out of range."""
        from headstock.heads.linear import StandardisedLinear

        head = StandardisedLinear(width, len(targets.labels))
        _threshold(options)
        return head

    def loss(self, head: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Mean binary cross-entropy over rows and labels, in nats."""
        import torch

        truth = batch.targets.to(torch.float32)
        return torch.nn.functional.binary_cross_entropy_with_logits(head(batch.features), truth)

    def metrics(self, outputs: np.ndarray, targets: Targets, seed: int) -> Sequence[Metric]:
        """Micro F1, macro F1 (both at probability 0.5) and mean average precision over labels; all bootstrapped."""
        from headstock import metrics

        return metrics.multi_label(outputs, targets.values, 0.0, seed)

    def linear_form(self, head: torch.nn.Module) -> LinearForm:
        """Weights with the standardisation folded in."""
        from headstock.heads.linear import linear_form

        return linear_form(head)

    def postprocess(self, targets: Targets, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Logits, one probability per label, and the labels above the threshold."""
        return {"kind": "multi-label", "labels": list(targets.labels), "threshold": _threshold(options)}


def _threshold(options: Mapping[str, Any]) -> float:
    threshold = options.get("threshold", 0.5)
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 < threshold < 1:
        raise InvalidInput(f"option threshold is {threshold!r}; expected a number between 0 and 1")
    return float(threshold)
