"""One pass: collate, backbone, heads. A row that breaks it fails alone, and its neighbours are answered."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from headstock.errors import HeadstockError, RunTimeout
from headstock.preprocess import Row
from headstock_server.scheduler.contract import AdaptedModel, Adapting, Array, Backbone, Floats, Stemmed
from headstock_server.scheduler.heads import UNANSWERED, Part, Values, failure, through_heads
from headstock_server.scheduler.lane import Pass
from headstock_server.scheduler.reuse import firsts, places


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
        parts = _parts(work, equal, feeds)
    except Exception as error:
        alike = _alike(work, equal)
        # One after the other they would hold the runner for as long again, each of them.
        if len(alike) > 1 and not isinstance(error, RunTimeout):
            return _one_by_one(work, alike, start)
        values: Values = [failure(work, i, "the backbone failed", error) for i in range(len(work.rows))]
        return _executed(work, once, values, start, start)
    if len(parts) == 1:
        return _executed(work, once, through_heads(parts[0]), start, collated)
    values = [UNANSWERED] * len(work.rows)
    for part in parts:
        for i, value in zip(part.members, through_heads(part), strict=True):
            values[i] = value
    return _executed(work, once, values, start, collated)


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


def _parts(work: Pass, equal: list[int] | None, feeds: Mapping[str, Array]) -> list[Part]:
    """The rows by backbone: all of them, or on a stem each one's own; `feeds` have one row per place in `equal`."""
    everyone = range(len(work.rows))
    if not work.lane.depth:
        return [_part_of(work, everyone, work.backbone, feeds, equal)]
    feeds = cast(Stemmed, work.backbone).stem(feeds)
    members: dict[Backbone, list[int]] = {}
    for i, ticket in enumerate(work.tickets):
        members.setdefault(ticket.model.backbone, []).append(i)
    if len(members) == 1:
        return [_part_of(work, everyone, backbone, feeds, equal) for backbone in members]
    parts = []
    for backbone, own in members.items():
        at = own if equal is None else [equal[i] for i in own]
        order = {place: n for n, place in enumerate(dict.fromkeys(at))}
        theirs = {name: array[list(order)] for name, array in feeds.items()}
        again = None if len(order) == len(at) else [order[place] for place in at]
        parts.append(_part_of(_part(work, own), own, backbone, theirs, again))
    return parts


def _part_of(
    work: Pass, members: Sequence[int], backbone: Backbone, feeds: Mapping[str, Array], at: list[int] | None
) -> Part:
    """Features of rows of one backbone; row i of `work` is row `at[i]` of `feeds`, or row i without."""
    taps = tuple({ticket.model.group.tap for ticket in work.tickets})
    features = backbone.infer(feeds, taps)
    rows = len(work.rows) if at is None else max(at) + 1
    if any(len(features[tap]) != rows for tap in taps):
        raise HeadstockError(f"taps have {[len(features[tap]) for tap in taps]} rows for {rows} rows in")
    if at is not None:
        features = {tap: block[at] for tap, block in features.items()}
    return Part(members, work, features, _lengths(backbone, work.rows, features))


def _feeds(once: Pass) -> Mapping[str, Array]:
    feeds = once.backbone.collate(once.rows)
    slots = _adapters(once)
    return feeds if slots is None else cast(Adapting, once.backbone).adapt(feeds, np.array(slots, np.intp))


def _alike(work: Pass, equal: Sequence[int] | None) -> list[list[int]]:
    """The rows in groups that fail or succeed together: equal rows of one backbone."""
    groups: dict[tuple[int, Backbone | None], list[int]] = {}
    for i, ticket in enumerate(work.tickets):
        backbone = ticket.model.backbone if work.lane.depth else None
        groups.setdefault((i if equal is None else equal[i], backbone), []).append(i)
    return list(groups.values())


def _one_by_one(work: Pass, alike: Sequence[Sequence[int]], start: int) -> Executed:
    """Every row by itself, or with those that are like it."""
    values: Values = [UNANSWERED] * len(work.rows)
    input_ns = padded = real = 0
    for members in alike:
        executed = execute(_part(work, members))
        for i, value in zip(members, executed.values, strict=True):
            values[i] = value
        input_ns += executed.input_ns
        padded += executed.padded_tokens
        real += executed.real_tokens
    infer_ns = time.monotonic_ns() - start - input_ns
    return Executed(values, input_ns, infer_ns, padded, real, len(work.rows) - len(alike), reran=True)


def _lengths(backbone: Backbone, rows: Sequence[Row], features: Mapping[str, Floats]) -> Mapping[str, Sequence[int]]:
    """Each row's own positions, for taps on which rows differ in them."""
    lengths: dict[str, Sequence[int]] = {}
    for tap, block in features.items():
        # Most heads stand on vectors, and this is on every request's way.
        own = backbone.positions(tap, rows) if block.ndim > 2 else None
        if own is not None:
            if max(own) > block.shape[1]:
                raise HeadstockError(f"tap {tap!r} has {block.shape[1]} positions; a row should have {max(own)}")
            lengths[tap] = own
    return lengths
