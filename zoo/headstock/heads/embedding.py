"""Embedding: vectors that lie near each other for samples of one label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from headstock.errors import InvalidInput
from headstock.hookspecs import Batch, HeadType, LinearForm, Metric, Targets

if TYPE_CHECKING:
    import numpy as np
    import torch


class EmbeddingHead(HeadType):
    """A projection of pooled features, trained so that rows of one label attract and all others repel.

    It starts as the identity (as much of it as `width` leaves), so before training it is the plain pooled embedding.
    """

    task: ClassVar[str] = "embedding"
    columns: ClassVar[tuple[str, ...]] = ("label",)
    primary_metric: ClassVar[str] = "recall_at_1"

    def default_options(self) -> Mapping[str, Any]:
        """`width` of the vectors (0: that of the tap) and `temperature` of the similarities."""
        return {"width": 0, "temperature": 0.1}

    def resolve_options(self, width: int, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """A `width` of 0 becomes the tap's."""
        return {**options, "width": self._width(options) or width}

    def encode(self, columns: Mapping[str, Sequence[Any]], labels: Sequence[str] | None = None) -> Targets:
        """Label indices INT64 [n]."""
        from headstock.heads.labels import encode_labels

        return encode_labels(columns["label"], labels, "an embedding")

    def build(self, width: int, targets: Targets, options: Mapping[str, Any]) -> torch.nn.Module:
        """A linear projection from `width` to `options["width"]`; raises `InvalidInput` for options out of range."""
        from headstock.heads.projection import Projection

        out = self._width(self.resolve_options(width, options))
        temperature = options.get("temperature", 0.1)
        if not isinstance(temperature, (int, float)) or not 0.001 <= temperature <= 100:
            raise InvalidInput(f"option temperature is {temperature!r}; expected a number from 0.001 to 100")
        if out > width:
            raise InvalidInput(f"option width is {out}, but the tap has only {width} features to project")
        return Projection(width, out, float(temperature))

    def loss(self, head: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Supervised contrastive loss of the batch, each row against all others, in nats."""
        from headstock.heads.projection import Projection, supervised_contrastive

        temperature = cast(Projection, head).temperature
        return supervised_contrastive(head(batch.features), batch.targets, temperature)

    def metrics(self, outputs: np.ndarray, targets: Targets, seed: int) -> Sequence[Metric]:
        """Recall@1 (Wilson) and mean reciprocal rank (bootstrap) among the rows themselves, leaving each one out."""
        from headstock import metrics

        return metrics.retrieval(outputs, targets.values, seed)

    def linear_form(self, head: torch.nn.Module) -> LinearForm:
        """The projection's weights."""
        from headstock.heads.projection import linear_form

        return linear_form(head)

    def postprocess(self, targets: Targets, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Vectors of length 1."""
        width = self._width(options)
        if width == 0:
            raise InvalidInput("option width is 0 where the real width is needed; pass options through resolve_options")
        return {"kind": "embedding", "width": width, "normalise": True}

    def _width(self, options: Mapping[str, Any]) -> int:
        width = options.get("width", 0)
        if not isinstance(width, int) or width < 0:
            raise InvalidInput(f"option width is {width!r}; expected a whole number, 0 for the tap's own")
        return width
