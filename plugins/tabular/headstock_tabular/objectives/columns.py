"""Masked columns: hide cells of a row and tell them from the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from headstock.errors import InvalidInput
from headstock.hookspecs import Batch, Objective, Studied, Terms, View
from headstock.preprocess import Row
from headstock.preprocess.table_options import MISSING_INDEX, TableOptions

if TYPE_CHECKING:
    import torch


class MaskedColumns(Objective):
    """What `headstock pretrain` begins with, on rows that came later: a masked cell looks exactly like a missing one.

    Cells that are seen are told too, at a lower weight: that keeps the whole row in the summary that heads stand on.
    """

    name: ClassVar[str] = "columns"
    modality: ClassVar[str] = "tabular"
    tap: ClassVar[str] = "pooled"
    figure: ClassVar[str] = "explained"

    def default_options(self) -> Mapping[str, Any]:
        """`masked`: share of a row's columns that are hidden; `visible`: weight of telling those that are not."""
        return {"masked": 0.3, "visible": 0.3}

    def build(self, studied: Studied, options: Mapping[str, Any]) -> torch.nn.Module:
        """A linear map from the summary to every feature and category. Raises `InvalidInput` for shares."""
        from headstock_tabular.objectives.teller import Teller

        if not 0 < options["masked"] < 1 or not 0 <= options["visible"] <= 1:
            raise InvalidInput(
                f"options masked={options['masked']}, visible={options['visible']} are no shares; expected masked "
                "between 0 and 1, visible from 0 to 1",
                fix="--option masked=0.3",
            )
        schema = _schema(studied)
        return Teller(studied.tap.width, len(schema.features), schema.cardinalities)

    def view(
        self, studied: Studied, rows: Sequence[Row], options: Mapping[str, Any], random: np.random.Generator
    ) -> View:
        """Rows with columns missing; targets [2, features + columns] are what stood there and what it weighs."""
        schema = _schema(studied)
        # All features of a date are masked together: each gives the others away.
        owners = [i for i, column in enumerate(schema.columns) for _ in column.features]
        owners += [i for i, column in enumerate(schema.columns) if column.type == "categorical"]
        owner, numeric = np.array(owners), len(schema.features)
        seen, targets = [], []
        for row in rows:
            hidden = random.random(len(schema.columns)) < options["masked"]
            hidden[random.choice(owner)] = True
            gone = hidden[owner]
            truth = np.concatenate([
                row.tensors.get("numeric", np.zeros(0)), row.tensors.get("categorical", np.zeros(0))
            ]).astype(np.float32)  # fmt: skip
            missing = np.where(np.arange(len(owner)) < numeric, np.isnan(truth), truth == MISSING_INDEX)
            weights = np.where(missing, 0.0, np.where(gone, 1.0, float(options["visible"])))
            tensors = {}
            if numeric:
                tensors["numeric"] = np.where(gone[:numeric], np.nan, row.tensors["numeric"]).astype(np.float32)
            if len(owner) > numeric:
                tensors["categorical"] = np.where(gone[numeric:], MISSING_INDEX, row.tensors["categorical"])
            seen.append(Row(tensors, row.length))
            targets.append(np.stack([np.nan_to_num(truth), weights]).astype(np.float32))
        return View(seen, targets)

    def terms(self, head: torch.nn.Module, batch: Batch, options: Mapping[str, Any]) -> Terms:
        """Weighted errors per row. Of hidden cells a category that is told right counts 1, and a number one less its
        squared error in variances: over all, the share of the variance that is explained."""
        import torch

        from headstock_tabular.objectives.teller import Teller

        if not isinstance(head, Teller):
            raise TypeError(f"this is a bug: {type(head).__name__} is not a Teller")
        truth, weights = batch.targets[:, 0], batch.targets[:, 1]
        losses, hits = head.judged(batch.features, truth)
        # Only what was hidden shows what was learned; what is seen is merely copied.
        hidden = (weights == 1.0).to(losses.dtype)
        share = hidden.sum(dim=1)
        lost = (losses * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-6)
        told = (hits.detach() * hidden).sum(dim=1) / share.clamp(min=1.0)
        asked = (share > 0).to(losses.dtype)
        return Terms(lost * asked, told, asked if bool(asked.any()) else torch.ones_like(asked))


def _schema(studied: Studied) -> TableOptions:
    return TableOptions.parse(studied.preprocessor.spec.options)
