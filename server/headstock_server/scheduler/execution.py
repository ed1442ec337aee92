"""One pass: collate, backbone, heads. A row that breaks it fails alone, and its neighbours are answered."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from headstock.errors import HeadstockError, InvalidInput
from headstock_server.scheduler.contract import AdaptedModel, Adapting, Array, Floats, HeadGroup
from headstock_server.scheduler.lane import Pass
from headstock_server.scheduler.ticket import Outputs

Values = list[Outputs | HeadstockError]
"""Per row of the pass: its outputs, or why there are none."""


@dataclass(frozen=True, slots=True)
class Executed:
    """What a pass gave."""

    values: Values
    input_ns: int
    infer_ns: int
    padded_tokens: int
    reran: bool = False
    """True if the runtime refused the pass and its rows ran one by one."""


def execute(work: Pass) -> Executed:
    """Run a pass. Never raises: whatever goes wrong becomes the error of the rows it belongs to."""
    start = time.monotonic_ns()
    taps = tuple({ticket.model.group.tap for ticket in work.tickets})
    padded = len(work.rows) * max(row.length for row in work.rows)
    collated = start
    try:
        feeds = _feeds(work)
        collated = time.monotonic_ns()
        features = work.backbone.infer(feeds, taps)
        if any(len(features[tap]) != len(work.rows) for tap in taps):
            raise HeadstockError(f"taps have {[len(features[t]) for t in taps]} rows for {len(work.rows)} rows in")
        lengths = _lengths(work, features)
    except Exception as error:
        if len(work.rows) > 1:
            return _one_by_one(work, start)
        return Executed([_failure(work, 0, "the backbone failed", error)], 0, time.monotonic_ns() - start, padded)
    values = _heads(work, features, lengths)
    return Executed(values, collated - start, time.monotonic_ns() - collated, padded)


def _feeds(work: Pass) -> Mapping[str, Array]:
    feeds = work.backbone.collate(work.rows)
    if not work.lane.adapters:
        return feeds
    slots = [cast(AdaptedModel, ticket.model).adapter_slot for ticket in work.tickets]
    return cast(Adapting, work.backbone).adapt(feeds, np.array(slots, np.intp))


def _one_by_one(work: Pass, start: int) -> Executed:
    values: Values = []
    input_ns = padded = 0
    for i, row in enumerate(work.rows):
        single = Pass(work.lane, work.backbone, [work.tickets[i]], [work.indices[i]], [row])
        executed = execute(single)
        values += executed.values
        input_ns += executed.input_ns
        padded += executed.padded_tokens
    return Executed(values, input_ns, time.monotonic_ns() - start - input_ns, padded, reran=True)


def _lengths(work: Pass, features: Mapping[str, Floats]) -> Mapping[str, Sequence[int]]:
    """Each row's own positions, for taps on which rows differ in them."""
    lengths: dict[str, Sequence[int]] = {}
    for tap, block in features.items():
        # Most heads stand on vectors, and this is on every request's way.
        own = work.backbone.positions(tap, work.rows) if block.ndim > 2 else None
        if own is not None:
            if max(own) > block.shape[1]:
                raise HeadstockError(f"tap {tap!r} has {block.shape[1]} positions; a row should have {max(own)}")
            lengths[tap] = own
    return lengths


def _heads(work: Pass, features: Mapping[str, Floats], lengths: Mapping[str, Sequence[int]]) -> Values:
    values: Values = [_UNANSWERED] * len(work.tickets)
    groups: dict[HeadGroup, list[int]] = {}
    for i, ticket in enumerate(work.tickets):
        groups.setdefault(ticket.model.group, []).append(i)
    for group, members in groups.items():
        block = features[group.tap]
        if group.tap in lengths:
            own = [row[:length] for row, length in zip(block, lengths[group.tap], strict=True)]
            for i in _finite_rows(work, own, members, values):
                values[i] = _alone(work, group, own[i], i)
            continue
        members = _finite_rows(work, block, members, values)
        if members:
            _group(work, group, block if len(members) == len(block) else block[members], members, values)
    return values


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
        if len(members) == 1:
            values[members[0]] = _failure(work, members[0], "the head failed", error)
            return
        for j, i in enumerate(members):
            _group(work, group, block[j : j + 1], [i], values)
        return
    everything = bool(np.isfinite(outputs).all())
    for j, i in enumerate(members):
        values[i] = outputs[j : j + 1]
        if not everything and not np.isfinite(outputs[j]).all():
            values[i] = _failure(work, i, "the head's outputs are not finite", None)


def _alone(work: Pass, group: HeadGroup, features: Floats, i: int) -> Outputs | HeadstockError:
    """Outputs of row `i`, whose own positions [positions, width] are `features`."""
    try:
        outputs = group.run_alone(features, work.tickets[i].model.slot)
    except Exception as error:
        return _failure(work, i, "the head failed", error)
    if not np.isfinite(outputs).all():
        return _failure(work, i, "the head's outputs are not finite", None)
    return [outputs] if outputs.ndim > 1 else outputs[None]


def _failure(work: Pass, i: int, what: str, cause: Exception | None) -> HeadstockError:
    model = work.tickets[i].model
    # Only our own messages go out: a runtime's may hold paths of this machine.
    detail = f": {cause.message}" if isinstance(cause, HeadstockError) else f": {type(cause).__name__}" if cause else ""
    error = HeadstockError(f"{model.name}:{model.number}: {what} on row {work.indices[i]} of the request{detail}")
    error.__cause__ = cause
    return error


_UNANSWERED = HeadstockError("this is a bug: a row left a pass without an answer")
