"""What heads share that answer for every position of a row: tokens of a text, frames of a recording."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from headstock.hookspecs import Batch, HeadType, LinearForm, Targets

if TYPE_CHECKING:
    import numpy as np
    import torch


class PositionHead(HeadType):
    """A linear probe on single positions, trained on batches that are padded and masked."""

    per_position: ClassVar[bool] = True

    @abstractmethod
    def outputs_per_position(self, targets: Targets) -> int:
        """How many values each position gets."""

    @abstractmethod
    def padded_targets(self, targets: Targets, positions: int) -> torch.Tensor:
        """Targets of a batch, INT64 with first axis n, for rows padded to `positions`."""

    def build(self, width: int, targets: Targets, options: Mapping[str, Any]) -> torch.nn.Module:
        """A linear map from `width` to the values of one position."""
        from headstock.heads.linear import StandardisedLinear

        return StandardisedLinear(width, self.outputs_per_position(targets), per_position=True)

    def collate(self, features: Sequence[np.ndarray], targets: Targets) -> Batch:
        """Rows [positions, width] padded to the longest, with the mask of what is their own."""
        import torch

        lengths = torch.tensor([len(row) for row in features])
        longest = int(lengths.max())
        block = torch.zeros((len(features), longest, features[0].shape[1]))
        for slot, row in zip(block, features, strict=True):
            slot[: len(row)] = torch.from_numpy(row)
        mask = torch.arange(longest)[None, :] < lengths[:, None]
        return Batch(block, self.padded_targets(targets, longest), mask)

    def linear_form(self, head: torch.nn.Module) -> LinearForm:
        """Weights with the standardisation folded in."""
        from headstock.heads.linear import linear_form

        return linear_form(head)


def objects(values: Sequence[Any]) -> np.ndarray:
    """Values of any kind as an array [n] of objects, one per row."""
    import numpy as np

    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found
