"""The backbone as a part of what learns: rows in, features of one tap out, some layer groups live, the rest frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy.typing as npt
import torch

from headstock.backbone.restore import Restored
from headstock.data.inputs import RawInputs
from headstock.errors import InvalidInput
from headstock.finetune.reading import preprocessed
from headstock.finetune.recipe import ComputeChoice
from headstock.finetune.team import Team
from headstock.finetune.values import Values
from headstock.hookspecs import Batch
from headstock.preprocess import Preprocessor, Row
from headstock.records import Reads, Tap

_KEPT_BYTES = 256 * 2**20
"""Preprocessed rows that are kept from epoch to epoch; the rest is read again."""
_WINDOW = 8
"""Batches that are sorted by length together: near lengths waste little padding, and the order stays random."""


class RowSource:
    """The data set's rows, preprocessed when they are asked for."""

    def __init__(self, preprocessor: Preprocessor, reads: Reads, inputs: RawInputs) -> None:
        self._preprocessor, self._reads, self._inputs = preprocessor, reads, inputs
        self._kept: dict[int, Row] = {}
        self._bytes = 0

    def read(self, numbers: Sequence[int]) -> list[Row]:
        """The rows of these numbers, in this order; raises `InvalidInput` naming one that cannot be read."""
        missing = [number for number in dict.fromkeys(numbers) if number not in self._kept]
        found = dict(zip(missing, preprocessed(self._preprocessor, self._reads, self._inputs, missing), strict=True))
        for number, row in found.items():
            size = sum(tensor.nbytes for tensor in row.tensors.values())
            if self._bytes + size <= _KEPT_BYTES:
                self._kept[number] = row
                self._bytes += size
        return [self._kept.get(number) or found[number] for number in numbers]


class Collating(Protocol):
    """What makes a batch of rows."""

    def collate(self, rows: Sequence[Row]) -> dict[str, npt.NDArray[Any]]:
        """The backbone's inputs by name; see `Preprocessor`."""


class Body:
    """A backbone in training. Frozen is frozen: what is not live moves no weight, no statistic, drops nothing."""

    def __init__(
        self,
        restored: Restored,
        tap: Tap,
        preprocessor: Collating,
        rows: RowSource,
        *,
        adapters: bool = False,
        compute: ComputeChoice | None = None,
        team: Team | None = None,
    ) -> None:
        """`restored` is changed in place; with `adapters` only those in its live groups learn."""
        team = team or Team()
        self._device, self._processes = team.device, team.size
        self.module = restored.module.to(self._device)
        self._half = compute is not None and compute.precision == "bf16"
        self._training = self._compiled(compute.compiler) if compute is not None and compute.compiler else self.module
        self.rows = rows
        self._groups = restored.groups
        self._adapters = adapters
        self._tap = tap
        self._preprocessor = preprocessor
        self._equal = restored.identity.padding == "equal-length"

    def holds(self, name: str, live: Sequence[str]) -> bool:
        """True if the parameter or buffer of that name learns where the layer groups `live` are live."""
        return name.startswith(self._prefixes(live)) and (not self._adapters or ".lora_" in name)

    def buffers(self, live: Sequence[str]) -> list[torch.Tensor]:
        """What the layers of these groups note of their inputs while they learn."""
        return [buffer for name, buffer in self.module.named_buffers() if self.holds(name, live)]

    def set_live(self, live: Sequence[str]) -> None:
        """Let these groups learn and freeze all others; call `module.eval()` afterwards to judge."""
        prefixes = self._prefixes(live)
        self.module.eval()
        for name, module in self.module.named_modules():
            # Under adapters the layers themselves are frozen: statistics stay, nothing is dropped out.
            if prefixes and not self._adapters and f"{name}.".startswith(prefixes):
                module.training = True
        for name, parameter in self.module.named_parameters():
            parameter.requires_grad_(bool(prefixes) and self.holds(name, live))

    def rates(self, live: Sequence[str], decay: float) -> list[tuple[torch.nn.Parameter, float]]:
        """Live parameters, each with its rate as a share of the topmost group's."""
        ordered = [group.name for group in self._groups if group.name in live]
        found: dict[str, tuple[torch.nn.Parameter, float]] = {}
        parameters = dict(self.module.named_parameters())
        for depth, group in enumerate(reversed(ordered)):
            for name, parameter in parameters.items():
                if self.holds(name, [group]):
                    found.setdefault(name, (parameter, decay**depth))
        return list(found.values())

    def _compiled(self, backend: str) -> Callable[..., dict[str, torch.Tensor]]:
        known = torch.compiler.list_backends(exclude_tags=())
        if backend not in known:
            raise InvalidInput(
                f"torch.compile has no backend {backend!r}; expected one of {', '.join(known)}", fix="--compile"
            )
        # Lengths differ from batch to batch: shapes stay symbols instead of a new program for each.
        compiled: Callable[..., dict[str, torch.Tensor]] = torch.compile(self.module, backend=backend, dynamic=True)
        return compiled

    def _prefixes(self, live: Sequence[str]) -> tuple[str, ...]:
        return tuple(prefix for group in self._groups if group.name in live for prefix in group.prefixes)

    def forward(self, rows: Sequence[Row]) -> list[torch.Tensor]:
        """Features of each row, [..., width] or [positions, width], FP32 on the CPU, with gradient where layers are
        live."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
            block = self._training(**self._feeds(rows))[self._tap.name]
        return self._rows(block, rows)

    def _feeds(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        found = self._preprocessor.collate(rows)
        return {name: torch.from_numpy(array).to(self._device) for name, array in found.items()}

    def _rows(self, block: torch.Tensor, rows: Sequence[Row]) -> list[torch.Tensor]:
        block = block.float().cpu()
        if not self._tap.ragged:
            return list(block)
        return [row[: self._tap.positions(r.steps)] for row, r in zip(block, rows, strict=True)]

    def values(self, numbers: Sequence[int], size: int) -> Values:
        """Features of these rows without gradient, in eval mode, as the loop takes them from a cache."""
        found: list[torch.Tensor | None] = [None] * len(numbers)
        training = [module for module in self.module.modules() if module.training]
        self.module.eval()
        with torch.no_grad():
            for places in self.batches(numbers, list(range(len(numbers))), size):
                rows = self.rows.read([numbers[p] for p in places])
                # Judged as it will be served: neither compiled nor at a lower precision.
                block = self.module(**self._feeds(rows))[self._tap.name]
                for place, features in zip(places, self._rows(block, rows), strict=True):
                    found[place] = features.clone()
        for module in training:
            module.training = True
        values = [features for features in found if features is not None]
        return [row.numpy() for row in values] if self._tap.ragged else torch.stack(values).numpy()

    def rest(self) -> None:
        """The end of training: everything frozen, on the CPU, in eval mode."""
        self.set_live(())
        self._device = torch.device("cpu")
        self.module.to(self._device).eval()

    def batches(self, numbers: Sequence[int], order: Sequence[int], size: int) -> Iterator[list[int]]:
        """Places in `numbers`, in batches of near lengths (equal ones where the family may not pad).

        `order` is the order in which the places come; windows of it are sorted by length.
        """
        before: list[int] = []
        for batch in self._windows(numbers, order, size):
            if before and len(batch) < 2 * self._processes and self._may_join(numbers, before, batch[0]):
                # A row alone has no statistics of its batch, and its gradient is as heavy as that of a whole one.
                before += batch
                continue
            if before:
                yield before
            before = batch
        if before:
            yield before

    def _windows(self, numbers: Sequence[int], order: Sequence[int], size: int) -> Iterator[list[int]]:
        for start in range(0, len(order), size * _WINDOW):
            window = list(order[start : start + size * _WINDOW])
            lengths = [self.rows_length(numbers[place]) for place in window]
            ranked = [window[i] for i in sorted(range(len(window)), key=lambda i: (lengths[i], i))]
            yield from self._cut(numbers, ranked, size)

    def _may_join(self, numbers: Sequence[int], batch: Sequence[int], place: int) -> bool:
        return not self._equal or self.rows_length(numbers[batch[0]]) == self.rows_length(numbers[place])

    def rows_length(self, number: int) -> int:
        """Length of one row, in the unit of its cost."""
        return self.rows.read([number])[0].length

    def _cut(self, numbers: Sequence[int], ranked: Sequence[int], size: int) -> Iterator[list[int]]:
        batch: list[int] = []
        for place in ranked:
            if batch and (len(batch) == size or not self._may_join(numbers, batch, place)):
                yield batch
                batch = []
            batch.append(place)
        if batch:
            yield batch


def with_gradient(batch: Batch, features: Sequence[torch.Tensor]) -> Batch:
    """The batch that a head type collated from the values of `features`, with `features` themselves in it."""
    if batch.mask is None:
        return replace(batch, features=torch.stack(list(features)))
    return replace(batch, features=torch.nn.utils.rnn.pad_sequence(list(features), batch_first=True))
