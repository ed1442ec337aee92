"""A method of adaptation where the loop expects a head type: what a step makes smaller, and how an epoch is judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch

from headstock import metrics
from headstock.adaptation import losses
from headstock.adaptation.domains import Domains
from headstock.adaptation.network import AdaptedHead
from headstock.adaptation.settings import Settings
from headstock.heads.classification import ClassificationHead
from headstock.hookspecs import Batch, LinearForm, Metric, Targets

SOURCE_ONLY = "source-only"
METHODS = ("coral", "mcc", "dann", "mmd", "importance")
"""What there is besides `source-only`."""

_CONFUSION = 3.0
"""Weight of MCC beside the other losses of adaptation: a head that learns anew, on few rows, is sure of its source rows
long before the confusion of the target's is gone. Chosen as the size of MCC's groups was, of 0.3, 1, 3 and 5."""


class Trainee(torch.nn.Module):
    """The head, and beside it the critic that tells the domains apart, which DANN alone has."""

    def __init__(self, head: AdaptedHead, hidden: int, method: str) -> None:
        """`hidden` is the width of what the critic looks at."""
        super().__init__()
        self.head = head
        self.critic: torch.nn.Module | None = None
        if method == "dann":
            linear = torch.nn.Linear
            self.critic = torch.nn.Sequential(linear(hidden, hidden), torch.nn.ReLU(), linear(hidden, 1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits [n, classes]."""
        logits: torch.Tensor = self.head(features)
        return logits


class DomainTask(ClassificationHead):
    """Source rows with their classes, and with each batch of them one of target rows that have none."""

    name: ClassVar[str] = "adapt"
    modality: ClassVar[str] = "tabular"
    tap: ClassVar[str] = "pooled"

    def __init__(self, method: str, domains: Domains, settings: Settings) -> None:
        """`method` is one of `METHODS`, or `SOURCE_ONLY`."""
        self._method, self._settings = method, settings
        self._width, self._classes = domains.source.shape[1], domains.classes
        self._source = torch.from_numpy(domains.view(method, domains.source))
        self._target = torch.from_numpy(domains.target)
        self._drawn = min(settings.optimizer.batch_size, len(domains.target))
        self._weights = torch.ones(len(domains.source))

    def build(self, width: int, targets: Targets, options: Mapping[str, Any]) -> Trainee:
        """A fresh head that knows how far the source's features reach; `importance` weighs the source's rows by it."""
        head = AdaptedHead(self._width, self._classes, self._settings.hidden)
        head.set_input_statistics(self._source)
        if self._method == "importance":
            source, target = (((rows - head.mean) / head.scale).numpy() for rows in (self._source, self._target))
            self._weights = torch.from_numpy(losses.importance_weights(source, target))
        return Trainee(head, self._settings.hidden, self._method)

    def taught(self, module: torch.nn.Module, batch: Batch, places: Sequence[int], progress: float) -> torch.Tensor:
        """Mean cross-entropy of the source rows, and what draws the domains together; the target rows are drawn from
        torch's current generator, with replacement."""
        trainee = _trainee(module)
        rows = self._target[torch.randint(len(self._target), (self._drawn,))]
        source, target = trainee.head.represent(batch.features), trainee.head.represent(rows)
        logits = trainee.head.classifier(source)
        each = torch.nn.functional.cross_entropy(logits, batch.targets, reduction="none") * self._weights[list(places)]
        return each.mean() + self._settings.strength * self._pull(trainee, source, target, progress)

    def metrics(self, outputs: Any, targets: Targets, seed: int) -> Sequence[Metric]:
        """Accuracy alone, as every epoch of every run is judged."""
        return [metrics.accuracy(outputs.argmax(axis=1), targets.values)]

    def linear_form(self, head: torch.nn.Module) -> LinearForm | None:
        """None: it has hidden layers."""
        return None

    def _pull(self, trainee: Trainee, source: torch.Tensor, target: torch.Tensor, progress: float) -> torch.Tensor:
        match self._method:
            case "coral":
                return losses.coral_loss(source, target)
            case "mcc":
                confusion = losses.grouped_mcc_loss(trainee.head.classifier(target))
                return _CONFUSION * losses.reversal_strength(progress) * confusion
            case "dann" if trainee.critic is not None:
                return losses.dann_loss(trainee.critic, source, target, losses.reversal_strength(progress))
            case "mmd":
                return losses.reversal_strength(progress) * losses.mmd_loss(source, target)
        return torch.zeros(())


def _trainee(module: torch.nn.Module) -> Trainee:
    if not isinstance(module, Trainee):
        raise TypeError(f"this is a bug: {type(module).__name__} is not a Trainee")
    return module
