"""AdamW without torch's compiler: `torch.optim` imports it first, and that takes longer than training a head."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch

from headstock.finetune.checkpoint import Tensors
from headstock.finetune.recipe import OptimizerChoice


class AdamW:
    """Decoupled weight decay (Loshchilov and Hutter 2019), step for step what `torch.optim.AdamW` computes.

    `state` holds everything that the next step depends on, by name, ready for a checkpoint.
    """

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        choice: OptimizerChoice,
        state: Tensors,
        shares: Sequence[float] | None = None,
    ) -> None:
        """Go on from `state`, or begin if it is empty.

        `shares` are each parameter's rate as a share of what `step` is given; all 1 by default.
        """
        self.parameters = list(parameters)
        self._shares = shares or [1.0] * len(self.parameters)
        self._choice = choice
        self.state = self._fresh()
        for name, tensor in state.items():
            self.state[name].copy_(tensor)

    def step(self, learning_rate: float) -> None:
        """Move every parameter that has a gradient, and clear the gradients."""
        self.state["steps"] += 1
        steps = int(self.state["steps"])
        with torch.no_grad():
            for index, parameter in enumerate(self.parameters):
                if parameter.grad is not None:
                    self._move(index, parameter, parameter.grad, steps, learning_rate * self._shares[index])
                    parameter.grad = None

    def _move(
        self, index: int, parameter: torch.Tensor, gradient: torch.Tensor, steps: int, learning_rate: float
    ) -> None:
        beta1, beta2 = self._choice.beta1, self._choice.beta2
        mean, square = self.state[f"{index}.mean"], self.state[f"{index}.square"]
        parameter.mul_(1 - learning_rate * self._choice.weight_decay)
        mean.lerp_(gradient, 1 - beta1)
        square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        scale = (square.sqrt() / math.sqrt(1 - beta2**steps)).add_(self._choice.epsilon)
        parameter.addcdiv_(mean, scale, value=-learning_rate / (1 - beta1**steps))

    def _fresh(self) -> Tensors:
        state: Tensors = {"steps": torch.zeros((), dtype=torch.int64)}
        for index, parameter in enumerate(self.parameters):
            state[f"{index}.mean"] = torch.zeros_like(parameter, requires_grad=False)
            state[f"{index}.square"] = torch.zeros_like(parameter, requires_grad=False)
        return state
