"""Regression: one number per sample, in the target's own unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from headstock.hookspecs import Batch, HeadType, LinearForm, Metric, Targets

if TYPE_CHECKING:
    import numpy as np
    import torch

    from headstock.heads.scaled import ScaledLinear


class RegressionHead(HeadType):
    """A linear probe on pooled features, trained with squared error on the standardised target."""

    task: ClassVar[str] = "regression"
    columns: ClassVar[tuple[str, ...]] = ("target",)
    primary_metric: ClassVar[str] = "r2"

    def default_options(self) -> Mapping[str, Any]:
        """`unit` of the target, for the answer's metadata; it changes no number."""
        return {"unit": ""}

    def encode(self, columns: Mapping[str, Sequence[Any]], labels: Sequence[str] | None = None) -> Targets:
        """Numbers FP32 [n]."""
        from headstock.heads.labels import encode_numbers

        return encode_numbers(columns["target"])

    def build(self, width: int, targets: Targets, options: Mapping[str, Any]) -> torch.nn.Module:
        """A linear map from `width` to the target, whose mean and spread are taken from the training rows."""
        from headstock.heads.scaled import ScaledLinear

        return ScaledLinear(width, targets.values)

    def loss(self, head: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Mean squared error in units of the training targets' variance."""
        scaled = cast("ScaledLinear", head)
        return scaled.standardised_error(scaled(batch.features)[:, 0], batch.targets).square().mean()

    def metrics(self, outputs: np.ndarray, targets: Targets, seed: int) -> Sequence[Metric]:
        """R2, mean absolute error and root mean squared error, bootstrapped; errors in the target's unit."""
        from headstock import metrics

        return metrics.regression(outputs[:, 0], targets.values, seed)

    def linear_form(self, head: torch.nn.Module) -> LinearForm:
        """Weights with both standardisations folded in."""
        from headstock.heads.linear import linear_form

        return linear_form(head)

    def postprocess(self, targets: Targets, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """The number."""
        return {"kind": "regression", "unit": str(options.get("unit", ""))}
