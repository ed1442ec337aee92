"""The contract kit's checks of an objective, on a tiny backbone that learns by it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from headstock.hookspecs import BackboneFamily, Objective, SourceFiles
from headstock.testing.cases import ObjectiveCase
from headstock.testing.results import NOT_TRIED, Broken, Result, Run, holds, is_json

if TYPE_CHECKING:
    from headstock.finetune.checkpoint import State
    from headstock.hookspecs import Batch, Terms, View
    from headstock.preprocess import Row
    from headstock.testing.objective_ground import Ground, Posture, Taught

OBJECTIVE_CHECKS = (
    "options",
    "build",
    "refuses bad options",
    "pieces",
    "view",
    "terms",
    "frozen is frozen",
    "loss decreases",
    "repeatable",
    "resumes",
)
"""What `check_objective` reports, in order."""

LEAST = 0.01
"""Share of the loss that must go."""
_SEEN = 4
"""Rows of one step."""


def check_objective(
    objective: Objective,
    family: BackboneFamily,
    files: SourceFiles,
    case: ObjectiveCase | None = None,
    *,
    seed: int = 0,
    subject: str = "",
) -> list[Result]:
    """Check an objective on one checkpoint of a family; every check runs, whatever the others found."""
    run = Run(subject)
    case = case or ObjectiveCase(objective.name, family.name, lambda folder: None)
    options = run("options", lambda: _options(objective, case))
    if options is None:
        run.unreached(OBJECTIVE_CHECKS[1:], "there are no options")
        return run.results
    found = run("build", lambda: _built(objective, family, files, case, options, seed))
    if found is None:
        run.unreached(OBJECTIVE_CHECKS[2:], "there is no head")
        return run.results
    ground: Ground = found
    run("refuses bad options", lambda: _refuses(ground, case, options))
    run("pieces", lambda: _pieces(ground, options))
    run("view", lambda: _view(ground, options))
    run("terms", lambda: _terms(ground, options))
    run("frozen is frozen", lambda: _frozen(ground, options))
    taught: list[Taught] = []
    run("loss decreases", lambda: _learns(ground, options, taught))
    if not taught:
        run.unreached(OBJECTIVE_CHECKS[-2:], "the objective cannot be trained by, or teaches nothing")
        return run.results
    run("repeatable", lambda: _repeatable(ground, options, taught[0]))
    run("resumes", lambda: _resumes(ground, options, taught[0]))
    return run.results


def _options(objective: Objective, case: ObjectiveCase) -> dict[str, Any]:
    known = dict(objective.default_options())
    if strange := sorted({*case.options, *(case.refused or {})} - set(known)):
        raise Broken(f"the case sets options {strange}; default_options() has {sorted(known)}")
    options = {**known, **case.options}
    is_json(options)
    return options


def _built(
    objective: Objective,
    family: BackboneFamily,
    files: SourceFiles,
    case: ObjectiveCase,
    options: Mapping[str, Any],
    seed: int,
) -> Ground:
    """A head that owns nothing of the backbone's, the same for the same seed."""
    from headstock.backbone.identity import state_digest
    from headstock.testing.objective_ground import Ground

    ground = Ground(objective, family, files, case, seed)
    postures = [ground.posture(options) for _ in range(2)]
    heads = [posture.posed.head(seed) for posture in postures]
    owned = {id(tensor): name for name, tensor in postures[0].restored.module.named_parameters()}
    for name, parameter in heads[0].named_parameters():
        if id(parameter) in owned:
            raise Broken(
                f"parameter {name!r} of the head is {owned[id(parameter)]!r} of the backbone, which the strategy "
                "alone may move; keep what is borrowed out of the module's own parameters"
            )
    if not any(parameter.requires_grad for parameter in heads[0].parameters()):
        raise Broken("the head has no trainable parameters, so nothing can be learned while the backbone is frozen")
    first, second = (state_digest(head.state_dict()) for head in heads)
    holds(first == second, "two heads built with one seed differ; draw from torch's current generator alone")
    return ground


def _refuses(ground: Ground, case: ObjectiveCase, options: Mapping[str, Any]) -> str:
    from headstock.errors import InvalidInput

    if case.refused is None:
        return f"{NOT_TRIED}the case has no options that must be refused"
    try:
        ground.posture({**options, **case.refused}).posed.head(ground.seed)
    except InvalidInput as error:
        return error.message
    raise Broken(f"build() accepted {dict(case.refused)}; expected InvalidInput")


def _pieces(ground: Ground, options: Mapping[str, Any]) -> str:
    """Every row is learned from, and every piece is of one row and can be read."""
    posture = ground.posture(options)
    pieces, owners = posture.objective.pieces(posture.studied, ground.inputs)
    if len(pieces) != len(owners):
        raise Broken(f"pieces() gives {len(pieces)} pieces with {len(owners)} owners")
    if strange := sorted(set(range(len(ground.inputs))) ^ set(owners)):
        raise Broken(f"pieces() leaves out rows or names some that there are not: {strange[:9]}")
    posture.posed.body.rows.read(range(len(pieces)))
    return f"{len(pieces)} of {len(ground.inputs)} rows"


def _rows(posture: Posture) -> list[Row]:
    return posture.posed.body.rows.read(range(_SEEN))


def _view(ground: Ground, options: Mapping[str, Any]) -> str:
    """New rows that the backbone reads, drawn from the generator alone; those that were given are kept."""
    posture = ground.posture(options)
    rows = _rows(posture)
    kept = [{name: tensor.copy() for name, tensor in row.tensors.items()} for row in rows]
    with _other_luck(1):
        view = _seen(posture, rows, options, 5)
    for number, (row, old) in enumerate(zip(rows, kept, strict=True)):
        if set(row.tensors) != set(old) or any(not _same(row.tensors[name], old[name]) for name in old):
            raise Broken(f"view() changed row {number} that it was given; the next epoch sees that row again")
    if len(view.rows) != len(view.targets) or not view.rows:
        raise Broken(f"view() gives {len(view.rows)} rows and {len(view.targets)} targets; expected one each")
    with _other_luck(2):
        again = _seen(posture, rows, options, 5)
    if not _equal_views(view, again):
        raise Broken("view() differs between two calls with equal generators; draw from the given generator alone")
    other = _seen(posture, rows, options, 6)
    return f"{len(view.rows)} of {_SEEN} rows, {'fixed' if _equal_views(view, other) else 'drawn anew every epoch'}"


def _seen(posture: Posture, rows: Sequence[Row], options: Mapping[str, Any], seed: int) -> View:
    import numpy as np

    return posture.objective.view(posture.studied, rows, options, np.random.default_rng(seed))


def _equal_views(one: View, other: View) -> bool:
    if len(one.rows) != len(other.rows):
        return False
    rows = all(
        set(a.tensors) == set(b.tensors) and all(_same(a.tensors[name], b.tensors[name]) for name in a.tensors)
        for a, b in zip(one.rows, other.rows, strict=True)
    )
    return rows and all(_same(a, b) for a, b in zip(one.targets, other.targets, strict=True))


def _same(one: Any, other: Any) -> bool:
    return bool(one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes())


def _terms(ground: Ground, options: Mapping[str, Any]) -> str:
    """Finite losses, one per row or per view of it, that say how head and backbone should move."""
    import torch

    posture = ground.posture(options)
    posture.posed.body.set_live(posture.restored.group_names)
    batch, terms = _one_step(posture, options, ground.seed)
    parts = {"losses": terms.losses, "hits": terms.hits, "counts": terms.counts}
    shapes = {name: tuple(part.shape) for name, part in parts.items()}
    if len({*shapes.values()}) != 1 or terms.losses.ndim != 1 or not len(terms.losses) or len(terms.losses) % _SEEN:
        raise Broken(f"terms() of {_SEEN} rows have shapes {shapes}; expected [{_SEEN}], or as often as views of a row")
    for name, part in parts.items():
        if not torch.isfinite(part).all():
            raise Broken(f"{name} of terms() are not finite: {part.tolist()!r:.80}")
    if (terms.counts < 0).any() or not terms.counts.sum() > 0:
        raise Broken(f"counts of terms() are {terms.counts.tolist()!r:.80}; expected none below 0, and some above")
    if terms.hits.requires_grad:
        raise Broken("hits of terms() have a gradient; they are a figure, so detach what they are made of")
    if not terms.losses.requires_grad:
        raise Broken("losses of terms() have no gradient, so nothing can learn")
    # Of the features: a head that borrows from the backbone has a way into its weights besides.
    (gradient,) = torch.autograd.grad(terms.losses.sum(), batch.features, allow_unused=True)
    if gradient is None or not gradient.any():
        raise Broken("losses of terms() do not depend on the features, so the backbone cannot learn from its rows")
    holds(bool(torch.isfinite(gradient).all()), "a gradient of the losses is not finite")
    return f"mean loss {float(terms.losses.detach().sum() / terms.counts.sum()):.4g}"


def _one_step(posture: Posture, options: Mapping[str, Any], seed: int) -> tuple[Batch, Terms]:
    from headstock.objectives.exercise import batch_of

    head = posture.posed.head(seed)
    view = _seen(posture, _rows(posture), options, seed)
    batch = batch_of(view, posture.posed.body.forward(view.rows))
    return batch, posture.objective.terms(head, batch, options)


def _frozen(ground: Ground, options: Mapping[str, Any]) -> str:
    """Neither a step by itself nor a training moves, or sets to training mode, what the strategy has not named."""
    from headstock.backbone.identity import weights_digest
    from headstock.finetune.new_backbone import group_digests
    from headstock.testing.objective_ground import EPOCHS

    posture = ground.posture(options)
    posture.posed.body.set_live(())
    module = posture.restored.module
    before = weights_digest(module)
    _one_step(posture, options, ground.seed)
    if awake := [name or "the network" for name, part in module.named_modules() if part.training]:
        raise Broken(f"view() or terms() set {awake[0]!r} to training mode; frozen layers stay in eval mode")
    if any(parameter.requires_grad for parameter in module.parameters()):
        raise Broken("view() or terms() let frozen parameters learn")
    if weights_digest(module) != before:
        raise Broken("view() or terms() changed the weights or statistics of a frozen backbone")
    start, now = group_digests(ground.studied()[0]), {}
    last = next(reversed(start))

    def after_epoch(posture: Posture, state: State) -> None:
        now.update(group_digests(posture.restored))
        for name, digest in start.items():
            if now[name] != digest and (state.phase == 0 or name != last):
                raise Broken(f"layer group {name!r} moved in epoch {len(state.history)}, in which it was frozen")

    ground.teach(options, after_epoch=after_epoch)
    holds(now[last] != start[last], f"layer group {last!r} was live and did not move")
    return f"all but {last!r} through {EPOCHS} epochs"


def _learns(ground: Ground, options: Mapping[str, Any], found: list[Taught]) -> str:
    from headstock.testing.objective_ground import EPOCHS

    taught = ground.teach(options)
    first, last = (float(m.losses.sum() / m.counts.sum()) for m in (taught.before, taught.after))
    if not last < first * (1 - LEAST):
        raise Broken(
            f"the loss went from {first:.4g} to {last:.4g} in {EPOCHS} epochs on the rows that it learned from; "
            f"expected at least {LEAST:.0%} less"
        )
    found.append(taught)
    return f"{first:.4g} to {last:.4g}"


def _repeatable(ground: Ground, options: Mapping[str, Any], taught: Taught) -> None:
    """The seed alone decides: other global generators give the same head and the same backbone."""
    with _other_luck(3):
        again = ground.teach(options)
    if (again.head, again.backbone) != (taught.head, taught.backbone):
        what = "backbones" if again.backbone != taught.backbone else "heads"
        raise Broken(f"two trainings with one seed end with different {what}")


def _resumes(ground: Ground, options: Mapping[str, Any], taught: Taught) -> str:
    """Interrupted in both phases, and gone on with by a fresh objective, as a new process would."""
    from headstock.testing.objective_ground import HEAD_EPOCHS

    stops = (1, HEAD_EPOCHS + 2)
    again = ground.teach(options, interrupted=stops)
    if (again.head, again.backbone) != (taught.head, taught.backbone):
        raise Broken(
            f"a training that was interrupted after epochs {stops[0]} and {stops[1]} ends with another result: the "
            "objective remembers something between two steps"
        )
    return f"after epochs {stops[0]} and {stops[1]}"


@contextmanager
def _other_luck(seed: int) -> Iterator[None]:
    """The global generators of Python, numpy and torch elsewhere inside, and as they were outside."""
    import numpy as np
    import torch

    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
