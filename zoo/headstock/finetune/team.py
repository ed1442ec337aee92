"""The processes that train one backbone together: each takes its part of every batch, and all of them move alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch

from headstock.errors import FailedPrecondition, InvalidInput
from headstock.finetune.launch import launched
from headstock.finetune.recipe import ComputeChoice

_PATIENCE = timedelta(days=7)
"""How long processes wait for one that reads features of a large data set for all of them."""


class Team:
    """One process alone: it has every row, and there is nobody to agree with."""

    size = 1
    rank = 0

    def __init__(self, device: torch.device | None = None) -> None:
        """The backbone is trained on `device`, the CPU by default."""
        self.device = device or torch.device("cpu")

    @property
    def leads(self) -> bool:
        """True in the one process that writes."""
        return self.rank == 0

    def part(self, places: Sequence[int]) -> list[int]:
        """This process's rows of a batch; none if there are fewer rows than processes."""
        return list(places[self.rank :: self.size])

    def add_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Give every process the sum of all gradients. One that nobody has stays absent."""

    def mean_buffers(self, buffers: Sequence[torch.Tensor]) -> None:
        """Give every process the mean of what layers noted of their inputs, such as running statistics."""

    def total(self, value: float) -> float:
        """The sum over all processes."""
        return value

    def wait(self) -> None:
        """Until every process is here."""

    def close(self) -> None:
        """Part; nothing may be asked of the others afterwards."""

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """The others do what is inside after the leader, and find what it left in a cache."""
        if not self.leads:
            self.wait()
        yield
        if self.leads:
            self.wait()


class Accelerated(Team):
    """As many processes as were launched, through Accelerate: gloo between CPUs, NCCL between GPUs."""

    def __init__(self, state: Any) -> None:
        """`state` is an `accelerate.PartialState`."""
        super().__init__(state.device)
        self._state = state
        self.size = int(state.num_processes)
        self.rank = int(state.process_index)

    def add_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """One message for all of them."""
        live = [parameter for parameter in parameters if parameter.requires_grad]
        there = torch.tensor([float(p.grad is not None) for p in live], device=self.device)
        flat = [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in live]
        summed = self._sum(torch.cat([there, *(part.to(self.device) for part in flat)]))
        at = len(live)
        for parameter, anybody in zip(live, summed[: len(live)].tolist(), strict=True):
            gradient = summed[at : at + parameter.numel()].view_as(parameter).to(parameter.device)
            parameter.grad = gradient if anybody else None
            at += parameter.numel()

    def mean_buffers(self, buffers: Sequence[torch.Tensor]) -> None:
        """Of floating point only: counters are equal already."""
        for buffer in buffers:
            if buffer.is_floating_point():
                summed = self._sum(buffer.to(self.device)).to(buffer.device)
                # Of equal numbers the mean is the number, which a sum of three thirds is not.
                buffer.copy_(torch.where(summed == buffer * self.size, buffer, summed / self.size))

    def total(self, value: float) -> float:
        """In double precision where the device has it."""
        return float(self._sum(torch.tensor([value], dtype=torch.float32, device=self.device))[0])

    def wait(self) -> None:
        """A barrier."""
        self._state.wait_for_everyone()

    def close(self) -> None:
        """End the process group."""
        self.wait()
        self._state.destroy_process_group()

    def _sum(self, tensor: torch.Tensor) -> torch.Tensor:
        from accelerate.utils import reduce

        result: torch.Tensor = reduce(tensor, reduction="sum")
        return result


def team_of(choice: ComputeChoice | None) -> Team:
    """The team that a recipe asks for.

    Raises `FailedPrecondition` without the device or the library, and if other processes were launched than asked for.
    """
    asked = 1 if choice is None else choice.processes
    if asked != launched():
        raise FailedPrecondition(
            f"the recipe is for {asked} {'process' if asked == 1 else 'processes'} and {launched()} were launched",
            fix=f"headstock fine-tune --processes {launched()}" if asked == 1 else "headstock fine-tune launches them",
        )
    if choice is None:
        return Team()
    if choice.device == "cuda" and not torch.cuda.is_available():
        raise FailedPrecondition(
            "the recipe trains on 'cuda' and torch sees no GPU", fix="--device cpu, or a CUDA build of torch"
        )
    if choice.processes == 1:
        return Team(torch.device(choice.device))
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise FailedPrecondition(
            "accelerate is not installed, and several processes need it", fix="pip install 'headstock[train]'"
        ) from error
    return Accelerated(PartialState(cpu=choice.device == "cpu", timeout=_PATIENCE))


def alone_on(choice: ComputeChoice | None) -> Team:
    """One process on the device that a recipe asks for."""
    return Team() if choice is None else Team(torch.device(choice.device))


def check_batches(choice: ComputeChoice, batch_size: int) -> None:
    """Raise `InvalidInput` if a batch has less than two rows for each process: batch statistics need two."""
    if choice.processes > 1 and batch_size < 2 * choice.processes:
        raise InvalidInput(
            f"batches of {batch_size} rows for {choice.processes} processes; expected at least two rows for each",
            fix=f"--batch-size {2 * choice.processes}",
        )
