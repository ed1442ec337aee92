"""What a run changes: the head, and those parts of the backbone that its strategy lets learn."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from headstock.errors import HeadstockError
from headstock.finetune.adamw import AdamW
from headstock.finetune.body import Body, with_gradient
from headstock.finetune.checkpoint import State, Tensors
from headstock.finetune.course import Course
from headstock.finetune.strategy import Phase
from headstock.finetune.values import Values
from headstock.hookspecs import Batch, HeadType, Targets


class Learner:
    """The head, and the backbone where a strategy lets it learn, as the loop moves, saves and judges them."""

    def __init__(self, recipe: Course, head_type: HeadType, head: torch.nn.Module, body: Body | None) -> None:
        """Both as they are now, before the first step."""
        self.head = head
        self._recipe = recipe
        self._head_type = head_type
        self._body = body
        self._start = {name: value.clone() for name, value in self._moved().items()}

    @property
    def body(self) -> Body:
        """The backbone in training; only a strategy with live layer groups has one."""
        if self._body is None:
            raise HeadstockError("a phase with live layer groups was started without the backbone; this is a bug")
        return self._body

    def begin(self, phase: Phase, state: Tensors) -> AdamW:
        """Let what `phase` names learn and nothing else; `state` is what its optimizer held when it was stopped."""
        shares = [(parameter, 1.0) for parameter in self.head.parameters()]
        if self._body is not None:
            self._body.set_live(phase.live)
            ratio = phase.backbone_rate / phase.learning_rate
            shares += [(p, share * ratio) for p, share in self._body.rates(phase.live, phase.decay)]
        return AdamW([p for p, _ in shares], self._recipe.optimizer, state, [share for _, share in shares])

    def moved_before(self, state: State) -> bool:
        """True if the backbone is, or may be, another one than at the start: cached features are then not its own."""
        return self._body is not None and any(p.live for p in self._recipe.strategy.phases[: state.phase + 1])

    def penalty(self) -> torch.Tensor | None:
        """The pull of l2-sp on what is live now; None where the strategy has none (Li et al. 2018)."""
        strength = self._recipe.strategy.l2_sp
        if not strength or self._body is None:
            return None
        parameters = {n: p for n, p in self._body.module.named_parameters() if p.requires_grad}
        squares = [(p - self._start[f"body.{name}"]).square().sum() for name, p in parameters.items()]
        return 0.5 * strength * torch.stack(squares).sum() if squares else None

    def batch(self, numbers: Sequence[int], targets: Targets) -> Batch:
        """One batch with features that the body computes now, with gradient where it is live."""
        features = self.body.forward(self.body.rows.read(numbers))
        plain = [f.detach().numpy() for f in features]
        ragged = len({p.shape for p in plain}) > 1 or self._head_type.per_position
        values: Values = plain if ragged else torch.stack([f.detach() for f in features]).numpy()
        return with_gradient(self._head_type.collate(values, targets), features)

    def values(self, numbers: Sequence[int]) -> Values:
        """Features of the rows as the body computes them now."""
        return self.body.values(numbers, self._recipe.optimizer.batch_size)

    def copy(self) -> Tensors:
        """Everything that the strategy may change."""
        own = {name: tensor.detach().clone() for name, tensor in self.head.state_dict().items()}
        return {**own, **{name: tensor.clone() for name, tensor in self._moved().items()}}

    def load(self, tensors: Tensors) -> None:
        """Inverse of `copy`."""
        self.head.load_state_dict({n: t for n, t in tensors.items() if not n.startswith("body.")})
        with torch.no_grad():
            for name, tensor in self._moved().items():
                tensor.copy_(tensors[name])

    def _moved(self) -> Tensors:
        if self._body is None:
            return {}
        live, state = self._recipe.strategy.live, self._body.module.state_dict()
        return {f"body.{n}": t.detach() for n, t in state.items() if self._body.holds(n, live)}
