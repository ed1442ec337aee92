"""Both towers as the one backbone that the training loop knows: pairs in, both pooled features side by side out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
import torch

from headstock.backbone.restore import Restored
from headstock.finetune.body import Body, RowSource
from headstock.hookspecs import LayerGroup
from headstock.preprocess import Preprocessor, Row
from headstock_multimodal.align.plan import TAPPED

if TYPE_CHECKING:
    from headstock.data.inputs import RawInputs
    from headstock_multimodal.heads.towers import Tower

_SEPARATOR = "/"
"""Between a role and the name of an input of its tower."""


class TowersBody(Body):
    """Two towers that learn together; their layer groups are named `image.layer.1`, `text.last`."""

    def __init__(
        self, towers: Mapping[str, Tower], restored: Mapping[str, Restored], inputs: Mapping[str, RawInputs]
    ) -> None:
        """By role, the image's first; what `restored` holds is changed in place."""
        preprocessors = {role: tower.backbone.open_preprocessor() for role, tower in towers.items()}
        identity = restored["text"].identity
        self._roles = tuple(towers)
        super().__init__(
            Restored(_Towers({role: restored[role].module for role in towers}), groups_of(restored), identity),
            identity.tap(TAPPED),
            _Collator(preprocessors),
            _Pairs({role: RowSource(preprocessors[role], "any", inputs[role]) for role in towers}),
        )

    def rates(self, live: Sequence[str], decay: float) -> list[tuple[torch.nn.Parameter, float]]:
        """Live parameters, each with its rate as a share of that of its own tower's topmost live group."""
        found = []
        for role in self._roles:
            found += super().rates([name for name in live if name.startswith(f"{role}.")], decay)
        return found


def groups_of(restored: Mapping[str, Restored]) -> tuple[LayerGroup, ...]:
    """Layer groups of both towers, each input to output, under the names that a recipe calls them by."""
    return tuple(
        LayerGroup(f"{role}.{group.name}", tuple(f"{role}.{prefix}" for prefix in group.prefixes))
        for role, one in restored.items()
        for group in one.groups
    )


class _Towers(torch.nn.ModuleDict):
    def forward(self, **feeds: torch.Tensor) -> dict[str, torch.Tensor]:
        """`pooled` [n, image + text] of the inputs of both, each named `role/input`."""
        pooled = []
        for role, tower in self.items():
            own = {name.partition(_SEPARATOR)[2]: feed for name, feed in feeds.items() if _role(name) == role}
            pooled.append(tower(**own)[TAPPED])
        return {TAPPED: torch.cat(pooled, dim=1)}


class _Pairs(RowSource):
    """Rows of both sides as one, as long as its text: an image costs the same in every pair."""

    def __init__(self, sides: Mapping[str, RowSource]) -> None:
        self._sides = sides

    def read(self, numbers: Sequence[int]) -> list[Row]:
        sides = {role: source.read(numbers) for role, source in self._sides.items()}
        return [
            Row(
                {
                    f"{role}{_SEPARATOR}{name}": array
                    for role, rows in sides.items()
                    for name, array in rows[place].tensors.items()
                },
                sides["text"][place].length,
            )
            for place in range(len(numbers))
        ]


class _Collator:
    def __init__(self, preprocessors: Mapping[str, Preprocessor]) -> None:
        self._preprocessors = preprocessors

    def collate(self, rows: Sequence[Row]) -> dict[str, npt.NDArray[Any]]:
        found: dict[str, npt.NDArray[Any]] = {}
        for role, preprocessor in self._preprocessors.items():
            own = [
                Row({n.partition(_SEPARATOR)[2]: t for n, t in row.tensors.items() if _role(n) == role}, row.length)
                for row in rows
            ]
            found |= {f"{role}{_SEPARATOR}{name}": array for name, array in preprocessor.collate(own).items()}
        return found


def _role(name: str) -> str:
    return name.partition(_SEPARATOR)[0]
