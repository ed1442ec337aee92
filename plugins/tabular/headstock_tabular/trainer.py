"""The training loop under `headstock pretrain`: mask columns, tell them from the others, keep the best epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from headstock.preprocess.table_options import MISSING_INDEX, TableOptions
from headstock_tabular.tabular.family import NETWORKS
from headstock_tabular.tabular.module import TabularBackbone, build_tabular

Tensors = dict[str, torch.Tensor]

_HELD_OUT = 0.1
_VISIBLE = 0.3


@dataclass(frozen=True, slots=True)
class PretrainOptions:
    """All that decides a pretraining besides the data."""

    network: str = NETWORKS[0]
    """`ft-transformer` or `mlp`."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """`width`, `layers`... where they are not the network's default."""
    epochs: int = 60
    batch: int = 128
    rate: float = 1e-3
    mask: float = 0.3
    """Share of columns that are masked in each row."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class PretrainReport:
    """How well masked columns of held-out rows are told from the others."""

    rows: int
    epochs: int
    r2: float | None
    """Share of the variance of masked numbers that is explained; 0 is the column's mean. None without numbers."""
    accuracy: float | None
    """Share of masked categories that are told right. None without categories."""
    commonest: float | None
    """What always telling the commonest category would get."""
    notes: tuple[str, ...] = ()
    """What `infer_schema` noted."""


class MaskedTrainer:
    """One run: the backbone, a linear map that tells every column from `pooled`, and the split."""

    def __init__(
        self, architecture: Mapping[str, Any], schema: TableOptions, data: Tensors, options: PretrainOptions
    ) -> None:
        self.options = options
        self.backbone: TabularBackbone = build_tabular(architecture)
        self.numeric: int = architecture["numeric"]
        self.cardinalities: Sequence[int] = architecture["cardinalities"]
        self.teller = torch.nn.Linear(self.backbone.width, self.numeric + sum(self.cardinalities))
        # All features of a date are masked together: each gives the others away.
        owners = [i for i, column in enumerate(schema.columns) for _ in column.features]
        self.owner = torch.tensor(owners, dtype=torch.int64)
        owners = [i for i, column in enumerate(schema.columns) if column.type == "categorical"]
        self.category_owner = torch.tensor(owners, dtype=torch.int64)
        self.columns = len(schema.columns)
        order = torch.randperm(len(next(iter(data.values()))))
        held_out = max(1, round(_HELD_OUT * len(order)))
        self.held_out = {name: tensor[order[:held_out]] for name, tensor in data.items()}
        self.training = {name: tensor[order[held_out:]] for name, tensor in data.items()}
        self.held_out_mask = self._mask(held_out)

    def run(self, progress: Callable[[int, float], None]) -> None:
        """Train; the weights of the epoch with the smallest held-out loss stay."""
        parameters = [*self.backbone.parameters(), *self.teller.parameters()]
        optimiser = torch.optim.AdamW(parameters, lr=self.options.rate, weight_decay=1e-4)
        best, kept = float("inf"), self._state()
        for epoch in range(1, self.options.epochs + 1):
            self.backbone.train()
            for batch in self._batches():
                optimiser.zero_grad()
                self._loss(batch, self._mask(len(next(iter(batch.values())))), _VISIBLE).backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(parameters, 1.0)
                optimiser.step()
            self.backbone.eval()
            with torch.no_grad():
                loss = float(self._loss(self.held_out, self.held_out_mask, 0.0))
            progress(epoch, loss)
            if loss < best:
                best, kept = loss, self._state()
        self.backbone.load_state_dict(kept[0])
        self.teller.load_state_dict(kept[1])
        self.backbone.eval()

    def report(self, notes: tuple[str, ...]) -> PretrainReport:
        """Figures of the held-out rows."""
        rows = len(self.held_out_mask)
        with torch.no_grad():
            told = self._tell(self.held_out, self.held_out_mask)
        r2 = accuracy = commonest = None
        if self.numeric:
            hidden = self.held_out_mask[:, self.owner] & ~torch.isnan(self.held_out["numeric"])
            truth = self.held_out["numeric"][hidden]
            # Against the mean of the training rows, which is 0: r2 says what the network adds to it.
            if len(truth):
                error = (told[:, : self.numeric][hidden] - truth).square().sum()
                r2 = 1.0 - float(error / truth.square().sum().clamp(min=1e-9))
        if self.cardinalities:
            accuracy, commonest = self._right(told)
        return PretrainReport(
            rows + len(next(iter(self.training.values()))), self.options.epochs, r2, accuracy, commonest, notes
        )

    def _state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return tuple({k: v.clone() for k, v in part.state_dict().items()} for part in (self.backbone, self.teller))  # type: ignore[return-value]

    def _batches(self) -> list[Tensors]:
        order = torch.randperm(len(next(iter(self.training.values()))))
        batches = torch.split(order, self.options.batch)
        return [{name: tensor[rows] for name, tensor in self.training.items()} for rows in batches]

    def _mask(self, rows: int) -> torch.Tensor:
        """Bool [rows, columns]: which columns each row must do without; at least one of every row's."""
        masked = torch.rand(rows, self.columns) < self.options.mask
        read = torch.unique(torch.cat([self.owner, self.category_owner]))
        masked[torch.arange(rows), read[torch.randint(len(read), (rows,))]] = True
        return masked

    def _tell(self, data: Tensors, masked: torch.Tensor) -> torch.Tensor:
        """What the network says of every feature and category when it does not see the masked columns."""
        seen: Tensors = {}
        if self.numeric:
            seen["numeric"] = data["numeric"].masked_fill(masked[:, self.owner], float("nan"))
        if self.cardinalities:
            seen["categorical"] = data["categorical"].masked_fill(masked[:, self.category_owner], MISSING_INDEX)
        told: torch.Tensor = self.teller(self.backbone(**seen)["pooled"])
        return told

    def _loss(self, data: Tensors, masked: torch.Tensor, visible: float) -> torch.Tensor:
        """Mean over features of the error of telling them; those that are seen count `visible`, missing ones nothing.

        Telling what is seen too keeps the whole row in the summary, which heads will stand on.
        """
        told = self._tell(data, masked)
        losses: list[torch.Tensor] = []
        if self.numeric:
            truth = data["numeric"]
            weight = self._weight(masked[:, self.owner], visible) * ~torch.isnan(truth)
            error = torch.nn.functional.smooth_l1_loss(
                told[:, : self.numeric], torch.nan_to_num(truth), reduction="none"
            )
            losses.append((error * weight).sum(dim=0) / weight.sum(dim=0).clamp(min=1e-6))
        for i, (logits, truth) in enumerate(self._choices(told, data)):
            weight = self._weight(masked[:, self.category_owner[i]], visible) * (truth != MISSING_INDEX)
            error = torch.nn.functional.cross_entropy(logits, truth, reduction="none")
            losses.append(((error * weight).sum() / weight.sum().clamp(min=1e-6)).reshape(1))
        return torch.cat(losses).mean()

    def _weight(self, masked: torch.Tensor, visible: float) -> torch.Tensor:
        return torch.where(masked, 1.0, visible)

    def _choices(self, told: torch.Tensor, data: Tensors) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Logits and truth of each categorical column."""
        if not self.cardinalities:
            return []
        logits = torch.split(told[:, self.numeric :], list(self.cardinalities), dim=1)
        return list(zip(logits, data["categorical"].unbind(dim=1), strict=True))

    def _right(self, told: torch.Tensor) -> tuple[float | None, float | None]:
        right, usual = [], []
        known = self._choices(told, self.held_out)
        for i, (logits, truth) in enumerate(known):
            hidden = self.held_out_mask[:, self.category_owner[i]] & (truth != MISSING_INDEX)
            common = self.training["categorical"][:, i].mode().values
            right.append((logits.argmax(dim=1) == truth)[hidden])
            usual.append((truth == common)[hidden])
        if not len(torch.cat(right)):
            return None, None
        return float(torch.cat(right).float().mean()), float(torch.cat(usual).float().mean())
