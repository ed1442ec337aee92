"""The price of sharing: what a head, an adapter or a backbone of its own adds to a server, measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from headstock.report.forms import Form
from headstock.report.resident import session_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from headstock.preprocess import Row
    from headstock.servable import ServableBackbone

Kind = Literal["head only", "LoRA", "private copy"]
KINDS: tuple[Kind, ...] = ("head only", "LoRA", "private copy")
STRATEGIES: Mapping[Kind, str] = {"head only": "feature-extraction", "LoRA": "lora", "private copy": "full"}
"""The strategy that makes one, for those that were not trained."""
BATCH = 8
"""Rows of a shared pass."""
_PLAIN, _ALONE = "plain", "plain, one row"
_SECONDS = 0.5
_MOST_ROUNDS = 15


@dataclass(frozen=True, slots=True)
class Cost:
    """What one more model adds to a server that holds the backbone already."""

    extra_bytes: int
    """Resident, of each further model of its kind: head and adapter as stacked arrays, a private copy's session."""
    first_bytes: int
    """Resident, of the first of its kind: an adapter's with the session that all adapters of its graph share."""
    resident: Literal["measured", "file sizes", "arrays"]
    """How the session was counted: its resident size in a process of its own, the size of its file where a system does
    not tell that, or not at all as there is none."""
    row_ms: float
    """One row's share of a pass, head included: of a pass of `BATCH` rows where the pass is shared with other models,
    else of one row alone, as rows for a private backbone find no company among those for others."""
    extra_row_ms: float
    """The same minus one row's share of a plain shared pass; below zero is noise."""


def kind_of(form: Form) -> Kind:
    """How a model shares."""
    return "private copy" if form.own is not None else "LoRA" if form.adapter is not None else "head only"


def company(backbone: ServableBackbone, rows: Sequence[Row]) -> list[Row]:
    """Up to `BATCH` of these rows that a server would run together: those around the middle length."""
    ordered = sorted(rows, key=lambda row: row.length)
    if backbone.certificate is None or not backbone.certificate.shared:
        return ordered[len(ordered) // 2 :][:1]
    if backbone.identity.padding == "equal-length":
        length = ordered[len(ordered) // 2].length
        return [row for row in ordered if row.length == length][:BATCH]
    start = max(0, (len(ordered) - BATCH) // 2)
    return ordered[start : start + BATCH]


def measure(forms: Mapping[str, Form], rows: Sequence[Row], cache: Path) -> tuple[dict[str, Cost], float]:
    """Cost of each form, and seconds of one row alone in the plain graph; all forms stand on one backbone.

    `cache` keeps what sessions of the same graphs were measured to take.
    `rows` are preprocessed validation rows, `BATCH` or fewer. The passes of all forms alternate, on one thread; each is
    its CPU time at its fastest, as other work on the machine only ever makes a pass slower.
    """
    from headstock.adapter.adapted import AdaptedGraph
    from headstock.graph import Graph

    first = next(iter(forms.values()))
    base, tap = first.base, first.tap
    plain, reader = Graph(base.graph), base.open_preprocessor()
    many, one = reader.collate(list(rows)), reader.collate([rows[len(rows) // 2]])
    (features,) = plain.run(many, [tap])
    work: dict[str, Callable[[], Any]] = {
        _PLAIN: partial(plain.run, many, [tap]),
        _ALONE: partial(plain.run, one, [tap]),
    }
    sessions: dict[str, tuple[int, bool]] = {}
    for name, form in forms.items():
        if (graph := form.graph()) is not None and form.session is not None:
            feeds = graph.feeds(many) if isinstance(graph, AdaptedGraph) else many
            size = session_bytes(cache, base.graph, many, form.session, feeds, tap)
            sessions[name] = (form.session.stat().st_size if size is None else size, size is not None)
            work[name] = partial(graph.run, one if form.own else many, [tap])
        work[f"{name}/head"] = form.head_pass(features)
    found = _fastest(work)
    shared = found[_PLAIN] / len(rows)
    costs = {}
    for name, form in forms.items():
        passed = found[name] / (1 if form.own else len(rows)) if name in found else shared
        row = passed + found[f"{name}/head"] / len(rows)
        costs[name] = _cost(form, sessions.get(name), row, shared)
    return costs, found[_ALONE]


def _cost(form: Form, session: tuple[int, bool] | None, row: float, shared: float) -> Cost:
    size, measured = session or (0, False)
    return Cost(
        extra_bytes=form.own_bytes + (size if form.own else 0),
        first_bytes=form.own_bytes + size,
        resident="arrays" if session is None else "measured" if measured else "file sizes",
        row_ms=round(row * 1e3, 6),
        extra_row_ms=round((row - shared) * 1e3, 6),
    )


def _fastest(work: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
    """Least seconds of each, over rounds that run all of them once; the first round warms up."""
    best = dict.fromkeys(work, np.inf)
    began = time.perf_counter()
    for number in range(_MOST_ROUNDS + 1):
        for name, run in work.items():
            start = time.thread_time()
            run()
            best[name] = min(best[name], time.thread_time() - start) if number else np.inf
        if number and time.perf_counter() - began > _SECONDS:
            break
    return best
