"""One pass: collate, backbone, heads. A row that breaks it fails alone, and its neighbours are answered."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from headstock.errors import HeadstockError, InvalidInput, RunTimeout
from headstock.preprocess import Row
from headstock_server.scheduler.contract import AdaptedModel, Adapting, Array, Floats, HeadGroup, SteppingGroup
from headstock_server.scheduler.lane import Pass
from headstock_server.scheduler.reuse import firsts, places
from headstock_server.scheduler.ticket import Outputs


@dataclass(frozen=True, slots=True)
class Again:
    """A row that is not done: what runs next for it."""

    row: Row


Values = list[Outputs | HeadstockError | Again]
"""Per row of the pass: its outputs, why there are none, or its next step."""


@dataclass(frozen=True, slots=True)
class Executed:
    """What a pass gave."""

    values: Values
    input_ns: int
    infer_ns: int
    padded_tokens: int
    real_tokens: int
    """Of the rows that the backbone computed: equal rows count once."""
    reused: int = 0
    """Rows that were answered from what the backbone had computed for an equal one."""
    reran: bool = False
    """True if the runtime refused the pass and its rows ran one by one."""


def execute(work: Pass) -> Executed:
    """Run a pass. Never raises: whatever goes wrong becomes the error of the rows it belongs to."""
    start = time.monotonic_ns()
    equal = places(work.rows, _adapters(work))
    once = work if equal is None else _part(work, firsts(equal))
    collated = start
    try:
        feeds = _feeds(once)
        collated = time.monotonic_ns()
        features = _features(work, once, feeds)
        lengths = _lengths(once, features)
    except Exception as error:
        # One after the other they would hold the runner for as long again, each of them.
        if len(once.rows) > 1 and not isinstance(error, RunTimeout):
            return _one_by_one(work, equal, start)
        values: Values = [_failure(work, i, "the backbone failed", error) for i in range(len(work.rows))]
        return _executed(work, once, values, start, start)
    if equal is not None:
        features = {tap: block[equal] for tap, block in features.items()}
        lengths = {tap: [own[place] for place in equal] for tap, own in lengths.items()}
    return _executed(work, once, _heads(work, features, lengths), start, collated)


def _executed(work: Pass, once: Pass, values: Values, start: int, collated: int) -> Executed:
    lengths = [row.length for row in once.rows]
    return Executed(
        values,
        collated - start,
        time.monotonic_ns() - collated,
        len(lengths) * max(lengths),
        sum(lengths),
        len(work.rows) - len(lengths),
    )


def _adapters(work: Pass) -> list[int] | None:
    """Each row's adapter slot, in a lane whose rows may have adapters."""
    return [cast(AdaptedModel, ticket.model).adapter_slot for ticket in work.tickets] if work.lane.adapters else None


def _part(work: Pass, members: Sequence[int]) -> Pass:
    """A pass of some of the rows."""
    return Pass(
        work.lane,
        work.backbone,
        [work.tickets[i] for i in members],
        [work.indices[i] for i in members],
        [work.rows[i] for i in members],
    )


def _features(work: Pass, once: Pass, feeds: Mapping[str, Array]) -> Mapping[str, Floats]:
    taps = tuple({ticket.model.group.tap for ticket in work.tickets})
    features = work.backbone.infer(feeds, taps)
    if any(len(features[tap]) != len(once.rows) for tap in taps):
        raise HeadstockError(f"taps have {[len(features[t]) for t in taps]} rows for {len(once.rows)} rows in")
    return features


def _feeds(once: Pass) -> Mapping[str, Array]:
    feeds = once.backbone.collate(once.rows)
    slots = _adapters(once)
    return feeds if slots is None else cast(Adapting, once.backbone).adapt(feeds, np.array(slots, np.intp))


def _one_by_one(work: Pass, equal: Sequence[int] | None, start: int) -> Executed:
    """Every row by itself, equal ones together: one that breaks the backbone breaks it for them all."""
    values: Values = [_UNANSWERED] * len(work.rows)
    input_ns = padded = real = 0
    equal = range(len(work.rows)) if equal is None else equal
    for place in range(max(equal) + 1):
        members = [i for i, its in enumerate(equal) if its == place]
        executed = execute(_part(work, members))
        for i, value in zip(members, executed.values, strict=True):
            values[i] = value
        input_ns += executed.input_ns
        padded += executed.padded_tokens
        real += executed.real_tokens
    infer_ns = time.monotonic_ns() - start - input_ns
    return Executed(values, input_ns, infer_ns, padded, real, len(work.rows) - max(equal) - 1, reran=True)


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
            values[i] = _failure(work, i, "the head's next step failed", error)
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
                values[i] = _failure(work, i, "the head failed", error)
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
    if isinstance(cause, RunTimeout):
        return RunTimeout(
            f"{model.name}:{model.number}: {cause.message}; {len(work.rows)} rows were in it", fix=cause.fix
        )
    detail = f": {cause.message}" if isinstance(cause, HeadstockError) else f": {type(cause).__name__}" if cause else ""
    error = HeadstockError(f"{model.name}:{model.number}: {what} on row {work.indices[i]} of the request{detail}")
    error.__cause__ = cause
    return error


_UNANSWERED = HeadstockError("this is a bug: a row left a pass without an answer")
