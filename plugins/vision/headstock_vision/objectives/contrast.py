"""SimCLR: two views of a picture find each other among those of others (Chen et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from headstock.errors import InvalidInput
from headstock.hookspecs import Batch, Objective, Studied, Terms, View
from headstock.preprocess import Row
from headstock.preprocess.image_options import ImageOptions
from headstock_vision.objectives.augment import Augmentation, augmented

if TYPE_CHECKING:
    import torch

_PIXELS = "pixel_values"
_SHARES = ("crop", "flip", "light", "grey")


class SimClr(Objective):
    """NT-Xent over two augmented views of every picture of a step; the projection is thrown away.

    The more pictures a step has, the harder the task and the better what is learned: a larger `--batch-size` helps.
    """

    name: ClassVar[str] = "simclr"
    modality: ClassVar[str] = "image"
    tap: ClassVar[str] = "pooled"
    figure: ClassVar[str] = "match_accuracy"

    def default_options(self) -> Mapping[str, Any]:
        """`temperature` of the similarities (as MoCo v2 has it, Chen et al. 2020), `width` of the projection, and how
        views differ: see `Augmentation`."""
        return {"temperature": 0.2, "width": 128, "crop": 0.3, "flip": 0.5, "light": 0.4, "grey": 0.2, "noise": 0.0}

    def build(self, studied: Studied, options: Mapping[str, Any]) -> torch.nn.Module:
        """Two layers. Raises `InvalidInput` for options out of range."""
        import torch

        for name in _SHARES:
            if not 0 <= options[name] <= 1 or (name == "crop" and not options[name]):
                raise InvalidInput(f"option {name} is {options[name]}; expected a share up to 1", fix=f"{name}=0.5")
        if not options["temperature"] > 0 or not options["width"] >= 1 or not options["noise"] >= 0:
            raise InvalidInput(
                f"options temperature={options['temperature']}, width={options['width']}, noise={options['noise']}; "
                "expected a temperature above 0, a width of at least 1 and no negative noise"
            )
        width = studied.tap.width
        return torch.nn.Sequential(
            torch.nn.Linear(width, width), torch.nn.ReLU(), torch.nn.Linear(width, int(options["width"]))
        )

    def view(
        self, studied: Studied, rows: Sequence[Row], options: Mapping[str, Any], random: np.random.Generator
    ) -> View:
        """One view of every row, then another of each; the target is the picture's place."""
        image = ImageOptions.parse(studied.preprocessor.spec.options)
        how = Augmentation(**{name: float(options[name]) for name in (*_SHARES, "noise")})
        seen = [
            Row({_PIXELS: augmented(row.tensors[_PIXELS], image, how, random)}, row.length)
            for _ in range(2)
            for row in rows
        ]
        return View(seen, [np.array(place) for place in [*range(len(rows)), *range(len(rows))]])

    def terms(self, head: torch.nn.Module, batch: Batch, options: Mapping[str, Any]) -> Terms:
        """Cross-entropy of telling a view's other half from all other views, and whether it is the nearest."""
        import torch

        vectors = torch.nn.functional.normalize(head(batch.features), dim=-1)
        count = len(vectors)
        likeness = vectors @ vectors.T / float(options["temperature"])
        likeness = likeness.masked_fill(torch.eye(count, dtype=torch.bool), float("-inf"))
        other = torch.arange(count).roll(count // 2)
        losses = torch.nn.functional.cross_entropy(likeness, other, reduction="none")
        right = (likeness.detach().argmax(dim=1) == other).to(losses.dtype)
        return Terms(losses, right, torch.ones(count))
