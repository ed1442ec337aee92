"""Few-shot classification: the nearest class mean, or the vote of the nearest rows; nothing is trained."""

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

    With the option `neighbours` above 0 so many of the nearest training rows vote instead, which is a graph of its own.
    """

    def default_options(self) -> Mapping[str, Any]:
        """`temperature` of the probabilities in squared distance, 0 takes it from the spread within the classes;
        `neighbours` that vote, 0 compares with class means."""
        return {"temperature": 0.0, "neighbours": 0}

    def build(self, width: int, targets: Targets, options: Mapping[str, Any]) -> torch.nn.Module:
        """Class means or rows, filled by `fit_input_statistics`. Raises `InvalidInput` for options out of range."""
        temperature, neighbours = options.get("temperature", 0.0), options.get("neighbours", 0)
        if isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or not 0 <= temperature < 1e30:
            raise InvalidInput(f"option temperature is {temperature!r}; expected a number of at least 0")
        if type(neighbours) is not int or not 0 <= neighbours <= 1000:
            raise InvalidInput(f"option neighbours is {neighbours!r}; expected a whole number from 0 to 1000")
        if neighbours == 0:
            from headstock.heads.prototypes import Prototypes

            return Prototypes(width, targets.values, len(targets.labels), float(temperature))
        if temperature:
            raise InvalidInput(
                f"option temperature is {temperature!r}, but neighbours vote by their distances alone; expected 0",
                fix="leave temperature out, or set neighbours=0",
            )
        from headstock.heads.neighbours import Neighbours

        return Neighbours(width, targets.values, len(targets.labels), neighbours)

    def linear_form(self, head: torch.nn.Module) -> LinearForm | None:
        """`2 (p - m) / temperature` and `-(|p|^2 - |m|^2) / temperature` per class; None where rows vote."""
        from headstock.heads.neighbours import Neighbours
        from headstock.heads.prototypes import linear_form

        return None if isinstance(head, Neighbours) else linear_form(head)

    def graph_form(self, head: torch.nn.Module) -> bytes | None:
        """The vote of the nearest rows as ONNX, features [n, width] to logits [n, classes]."""
        from headstock.heads.neighbours import Neighbours, neighbours_graph

        return neighbours_graph(head) if isinstance(head, Neighbours) else None
