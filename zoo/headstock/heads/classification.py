"""Classification: one label per sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from headstock.hookspecs import Batch, HeadType, LinearForm, Metric, Targets

if TYPE_CHECKING:
    import numpy as np
    import torch


class ClassificationHead(HeadType):
    """A linear probe on pooled features, trained with cross-entropy."""

    task: ClassVar[str] = "classification"
    columns: ClassVar[tuple[str, ...]] = ("label",)
    primary_metric: ClassVar[str] = "accuracy"

    def encode(self, columns: Mapping[str, Sequence[Any]], labels: Sequence[str] | None = None) -> Targets:
        """Class indices INT64 [n], classes in sorted order."""
        from headstock.heads.labels import encode_labels

        return encode_labels(columns["label"], labels, "a classifier")

    def build(self, width: int, targets: Targets, options: Mapping[str, Any]) -> torch.nn.Module:
        """A linear map from `width` to one logit per class."""
        from headstock.heads.linear import StandardisedLinear

        return StandardisedLinear(width, len(targets.labels))

    def loss(self, head: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Mean cross-entropy in nats."""
        import torch

        return torch.nn.functional.cross_entropy(head(batch.features), batch.targets)

    def metrics(self, outputs: np.ndarray, targets: Targets, seed: int) -> Sequence[Metric]:
        """Accuracy (Wilson), macro F1 and log loss (bootstrap); for two classes also AUROC and AUPRC of the second."""
        from headstock import metrics

        predicted = outputs.argmax(axis=1)
        found = (
            metrics.accuracy(predicted, targets.values),
            metrics.macro_f1(predicted, targets.values, outputs.shape[1], seed),
            metrics.log_loss(outputs, targets.values, seed),
        )
        if outputs.shape[1] != 2:
            return found
        scores, positive = outputs[:, 1] - outputs[:, 0], targets.values == 1
        return (*found, metrics.auroc(scores, positive, seed), metrics.auprc(scores, positive, seed))

    def linear_form(self, head: torch.nn.Module) -> LinearForm | None:
        """Weights with the standardisation folded in."""
        from headstock.heads.linear import linear_form

        return linear_form(head)

    def postprocess(self, targets: Targets, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Logits, probabilities and the winning label."""
        return {"kind": "classification", "labels": list(targets.labels)}
