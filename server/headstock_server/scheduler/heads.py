"""The rows of one backbone in a pass, each through its own head; one that breaks its head fails alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from headstock.errors import HeadstockError, InvalidInput, RunTimeout
from headstock.preprocess import Row
from headstock_server.scheduler.contract import Floats, HeadGroup, SteppingGroup
from headstock_server.scheduler.lane import Pass
from headstock_server.scheduler.ticket import Outputs


@dataclass(frozen=True, slots=True)
class Again:
    """A row that is not done: what runs next for it."""

    row: Row


Values = list[Outputs | HeadstockError | Again]
"""Per row of the pass: its outputs, why there are none, or its next step."""


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of a pass that one backbone has computed."""

    members: Sequence[int]
    """Their numbers in the pass."""
    work: Pass
    """These rows alone."""
    features: Mapping[str, Floats]
    """By tap, in their order."""
    lengths: Mapping[str, Sequence[int]]
    """Each row's own positions, for taps on which rows differ in them."""


def through_heads(part: Part) -> Values:
    """What came of each row."""
    work, features, lengths = part.work, part.features, part.lengths
    values: Values = [UNANSWERED] * len(work.tickets)
    groups: dict[HeadGroup, list[int]] = {}
    for i, ticket in enumerate(work.tickets):
        groups.setdefault(ticket.model.group, []).append(i)
    for group, members in groups.items():
        block = features[group.tap]
        if group.tap in lengths:
            own = [row[:length] for row, length in zip(block, lengths[group.tap], strict=True)]
            members = _finite_rows(work, own, members, values)
            for i in members:
                values[i] = _alone(work, group, own[i], i)
        else:
            members = _finite_rows(work, block, members, values)
            if members:
                _group(work, group, block if len(members) == len(block) else block[members], members, values)
        if hasattr(group, "step"):
            _step(work, cast(SteppingGroup, group), members, values)
    return values


def _step(work: Pass, group: SteppingGroup, members: list[int], values: Values) -> None:
    """Put the next step in the place of outputs that are not yet the answer."""
    for i in members:
        outputs = values[i]
        if isinstance(outputs, (HeadstockError, Again)):
            continue
        try:
            row = group.step(work.rows[i], outputs, work.tickets[i].model.slot)
        except Exception as error:
            values[i] = failure(work, i, "the head's next step failed", error)
        else:
            values[i] = outputs if row is None else Again(row)


def _finite_rows(work: Pass, block: Floats | list[Floats], members: list[int], values: Values) -> list[int]:
    if not isinstance(block, list) and np.isfinite(block).all():
        return members
    sound = [bool(np.isfinite(row).all()) for row in block]
    for i in members:
        if not sound[i]:
            values[i] = InvalidInput(
                f"row {work.indices[i]} of the request has features that are not finite; "
                "expected input that the backbone can represent"
            )
    return [i for i in members if sound[i]]


def _group(work: Pass, group: HeadGroup, block: Floats, members: list[int], values: Values) -> None:
    """Outputs of one group's heads, stored into `values` at `members`; block row j belongs to member j."""
    slots = np.array([work.tickets[i].model.slot for i in members], np.intp)
    try:
        outputs = group.run(block, slots)
        if len(outputs) != len(members):
            raise HeadstockError(f"it gave {len(outputs)} rows for {len(members)}")
    except Exception as error:
        if len(members) == 1 or isinstance(error, RunTimeout):
            for i in members:
                values[i] = failure(work, i, "the head failed", error)
            return
        for j, i in enumerate(members):
            _group(work, group, block[j : j + 1], [i], values)
        return
    everything = bool(np.isfinite(outputs).all())
    for j, i in enumerate(members):
        values[i] = outputs[j : j + 1]
        if not everything and not np.isfinite(outputs[j]).all():
            values[i] = failure(work, i, "the head's outputs are not finite", None)


def _alone(work: Pass, group: HeadGroup, features: Floats, i: int) -> Outputs | HeadstockError:
    """Outputs of row `i`, whose own positions [positions, width] are `features`."""
    try:
        outputs = group.run_alone(features, work.tickets[i].model.slot)
    except Exception as error:
        return failure(work, i, "the head failed", error)
    if not np.isfinite(outputs).all():
        return failure(work, i, "the head's outputs are not finite", None)
    return [outputs] if outputs.ndim > 1 else outputs[None]


def failure(work: Pass, i: int, what: str, cause: Exception | None) -> HeadstockError:
    """The error of row `i`."""
    model = work.tickets[i].model
    # Only our own messages go out: a runtime's may hold paths of this machine.
    if isinstance(cause, RunTimeout):
        return RunTimeout(
            f"{model.name}:{model.number}: {cause.message}; {len(work.rows)} rows were in it", fix=cause.fix
        )
    detail = f": {cause.message}" if isinstance(cause, HeadstockError) else f": {type(cause).__name__}" if cause else ""
    error = HeadstockError(f"{model.name}:{model.number}: {what} on row {work.indices[i]} of the request{detail}")
    error.__cause__ = cause
    return error


UNANSWERED = HeadstockError("this is a bug: a row left a pass without an answer")
