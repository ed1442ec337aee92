"""One run of an adaptation: a method and a seed in, a head out, by the one training loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from headstock.adaptation.domains import Domains
from headstock.adaptation.journal import Journal
from headstock.adaptation.network import AdaptedHead
from headstock.adaptation.settings import Settings
from headstock.adaptation.task import METHODS, SOURCE_ONLY, DomainTask
from headstock.errors import InvalidInput
from headstock.finetune import loop
from headstock.hookspecs import Targets

Floats = npt.NDArray[np.float32]


def train_adapted(
    method: str, domains: Domains, seed: int, settings: Settings, journal: Journal | None = None
) -> AdaptedHead:
    """A head for the target by `method`; equal arguments give equal weights, wherever `journal` says it begins.

    Raises `InvalidInput` for an unknown method and `HeadstockError` if the loss stops being a number.
    """
    if method not in (SOURCE_ONLY, *METHODS):
        raise InvalidInput(f"there is no adaptation method {method!r}; expected one of {', '.join(METHODS)}")
    kept = journal or Journal()
    labels = tuple(map(str, range(domains.classes)))
    train, validation = Targets(domains.labels, labels), Targets(domains.truth, labels)
    with loop.one_thread(), loop.seeded(seed, "adaptation"):
        task = DomainTask(method, domains, settings)
        trainee = task.build(0, train, {})
    features = domains.view(method, domains.source), domains.view(method, domains.held_out)
    job = loop.Job(
        replace(settings, seed=seed), task, lambda: features, train, validation, loss=task.taught, keeps_last=True
    )
    loop.train(job, trainee, kept.begin(method, seed, trainee), lambda state: kept.epoch(method, seed, state))
    return trainee.head.eval()


def logits_of(head: AdaptedHead, features: Floats) -> Floats:
    """Logits [n, classes] FP32."""
    with torch.no_grad(), loop.one_thread():
        result: Floats = head(torch.from_numpy(features)).numpy()
    return result
