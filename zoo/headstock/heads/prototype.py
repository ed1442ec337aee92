"""Few-shot classification: the class whose mean is nearest; nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headstock.errors import InvalidInput
from headstock.heads.classification import ClassificationHead
from headstock.hookspecs import LinearForm, Targets

if TYPE_CHECKING:
    import torch


class PrototypeHead(ClassificationHead):
    """Nearest class mean by squared distance (Snell et al., "Prototypical networks for few-shot learning", 2017).

    The squared norm of a row `x` is the same for all classes, and so is its distance from the middle `m` of the class
    means `p`; what is left is linear: `2 x.(p - m) - (|p|^2 - |m|^2)`.
    """

    def default_options(self) -> Mapping[str, Any]:
        """`temperature` of the probabilities in squared distance; 0 takes it from the spread within the classes."""
        return {"temperature": 0.0}

    def build(self, width: int, targets: Targets, options: Mapping[str, Any]) -> torch.nn.Module:
        """Class means, filled by `fit_input_statistics`. Raises `InvalidInput` for a negative temperature."""
        from headstock.heads.prototypes import Prototypes

        temperature = options.get("temperature", 0.0)
        if isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or not 0 <= temperature < 1e30:
            raise InvalidInput(f"option temperature is {temperature!r}; expected a number of at least 0")
        return Prototypes(width, targets.values, len(targets.labels), float(temperature))

    def linear_form(self, head: torch.nn.Module) -> LinearForm:
        """`2 (p - m) / temperature` and `-(|p|^2 - |m|^2) / temperature` per class."""
        from headstock.heads.prototypes import linear_form

        return linear_form(head)
