"""The scheduler's promises under random traffic on a virtual clock: real lanes and policy, hours in seconds."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstock_server.scheduler import Budget, SchedulerOptions
from headstock_server.scheduler.fairness import Shares
from headstock_server.scheduler.simulator import (
    Arrival,
    Service,
    Simulated,
    Simulator,
    bursts,
    poisson,
)

MS = 1_000_000
BUDGETS = (Budget(128), Budget(256, waste=0.0), Budget(512, rows=1))
SERVICE = Service(fixed_ns=2 * MS, token_ns=100_000)

seeds = st.integers(0, 2**32 - 1)
once = settings(max_examples=12, deadline=None)


def traffic(seed: int, seconds: float = 1.0) -> list[Arrival]:
    """Several models on several backbones, from half to three times what one runner can do."""
    random = np.random.default_rng(seed)
    times = poisson(random, float(random.uniform(20, 150)), seconds)
    times += bursts(random, int(random.integers(2, 40)), 0.2, seconds)
    return [_request(random, at) for at in sorted(times)]


def _request(random: np.random.Generator, at: int) -> Arrival:
    rows = 1 if random.random() < 0.8 else int(random.integers(2, 20))
    lengths = tuple(int(n) for n in random.choice([8, 12, 16, 30, 32, 100, 250], rows))
    deadline = at + int(random.integers(1, 2000)) * MS if random.random() < 0.4 else None
    cancel = at + int(random.integers(0, 500)) * MS if random.random() < 0.15 else None
    return Arrival(at, lengths, f"m{random.integers(6)}", int(random.integers(len(BUDGETS))), deadline, cancel)


def simulate(seed: int, **options: float) -> Simulated:
    return Simulator(BUDGETS, SERVICE, SchedulerOptions(**options)).run(traffic(seed))  # type: ignore[arg-type]


@once
@given(seeds, st.integers(1, 3))
def test_every_request_is_answered_once_and_by_its_own_rows(seed: int, runners: int) -> None:
    for request in simulate(seed, runners=runners).requests:
        assert request.answers == 1
        if request.outcome == "answered":
            count = len(request.arrival.lengths)
            own = np.arange(request.first_row, request.first_row + count, dtype=np.float32)
            assert np.array_equal(np.asarray(request.ticket.result), own[:, None])
        elif request.outcome in ("late", "refused"):
            assert request.arrival.deadline is not None
        else:
            assert request.outcome == "cancelled"
            assert request.arrival.cancel is not None


@once
@given(seeds)
def test_no_row_runs_twice_and_every_answered_request_ran_all_its_rows(seed: int) -> None:
    result = simulate(seed)
    ran = Counter(float(row.tensors["x"]) for p in result.passes for row in p.work.rows)
    assert max(ran.values(), default=0) <= 1
    for request in result.requests:
        if request.outcome == "answered":
            assert all(ran[request.first_row + i] for i in range(len(request.arrival.lengths)))


@once
@given(seeds, st.sampled_from([0.0, 0.01]))
def test_rows_of_callers_that_have_gone_and_rows_that_are_too_late_are_never_run(seed: int, delay: float) -> None:
    for p in simulate(seed, max_delay=delay).passes:
        for ticket in p.work.tickets:
            assert ticket.deadline is None or ticket.deadline * 1e9 > p.start
    result = simulate(seed, max_delay=delay)
    gone = {r.ticket: r.arrival.cancel for r in result.requests if r.arrival.cancel is not None}
    for p in result.passes:
        assert all(gone[t] > p.start for t in p.work.tickets if t in gone)


@once
@given(seeds, st.integers(1, 3))
def test_every_pass_keeps_its_bounds_and_its_backbone(seed: int, runners: int) -> None:
    for p in simulate(seed, runners=runners).passes:
        budget = p.work.backbone.budget
        assert {t.model.backbone for t in p.work.tickets} == {p.work.backbone}
        if len(p.work.rows) > 1:
            assert p.padded <= budget.tokens
            assert len(p.work.rows) <= budget.rows
            assert p.padded - p.real <= budget.waste * p.padded + 1e-9


@once
@given(seeds, st.integers(1, 3))
def test_no_runner_is_idle_while_a_row_waits(seed: int, runners: int) -> None:
    assert simulate(seed, runners=runners).idle_ns == 0


@once
@given(seeds)
def test_a_configured_delay_is_the_longest_that_a_runner_waits_for_company(seed: int) -> None:
    delay = 0.01
    result = simulate(seed, max_delay=delay)
    busy = sorted((p.start, p.end) for p in result.passes)
    for p in result.passes:
        oldest = min(t.timings.submitted_ns for t in p.work.tickets)
        free = max((end for start, end in busy if end <= p.start), default=0)
        assert p.start - max(oldest, free) <= delay * 1e9


@once
@given(seeds)
def test_the_same_seed_gives_the_same_passes(seed: int) -> None:
    first, second = simulate(seed), simulate(seed)
    assert [(p.start, p.padded, p.work.indices) for p in first.passes] == [
        (p.start, p.padded, p.work.indices) for p in second.passes
    ]


@once
@given(seeds, st.sampled_from([8, 60, 250]), st.integers(0, 2))
def test_a_row_of_a_quiet_model_waits_for_a_few_passes_however_much_else_comes(
    seed: int, length: int, backbone: int
) -> None:
    """No starvation: three times more than can run arrives for ever, from other models and on other backbones."""
    random = np.random.default_rng(seed)
    crowd = [_request(random, at) for at in poisson(random, 150, 1.5)]
    odd = Arrival(500 * MS, (length,), "odd", backbone)
    result = Simulator(BUDGETS, SERVICE).run([*crowd, odd], until=1500 * MS)
    (request,) = result.of("odd")
    assert request.outcome == "answered"
    # The pass that runs, then on each backbone the passes by which it may be ahead, and its turn.
    assert request.latency <= (1 + 3 * len(BUDGETS)) * SERVICE(512)


def _past_its_share(result: Simulated) -> list[float]:
    """Per answered request its latency over the bound: its own queue, and as much of every other share's, by a margin.

    A queue is what waited beside it: its own as far as it arrived within its patience and so may be in more of a hurry.
    """
    found = []
    for request in result.requests:
        if request.outcome != "answered":
            continue
        start, end = request.arrival.at, request.at
        queues: Counter[tuple[str, int]] = Counter()
        own = 0
        for other in result.requests:
            if other.arrival.at <= end and other.at > start and other.outcome != "refused":
                share = (other.arrival.model, other.arrival.backbone)
                work = sum(SERVICE(n) for n in other.arrival.lengths)
                queues[share] += work
                if share == (request.arrival.model, request.arrival.backbone) and other.arrival.at <= start + 1000 * MS:
                    own += work
        bound = 1.25 * sum(min(queue, own) for queue in queues.values()) + 20 * SERVICE(256)
        found.append(request.latency / bound)
    return found


def test_a_row_of_a_busy_model_waits_for_its_own_queue_and_as_much_of_every_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And without fair shares some row waits longer than that: the bound is no empty one."""
    fair = [max(_past_its_share(simulate(seed))) for seed in range(1000, 1004)]
    assert max(fair) <= 1.0
    monkeypatch.setattr(Shares, "standing", lambda self: None)
    unfair = [max(_past_its_share(simulate(seed))) for seed in range(1000, 1004)]
    assert max(unfair) > 1.5


@pytest.mark.parametrize("load", [1.0, 3.0, 10.0])
def test_overload_costs_waiting_but_no_work_and_nothing_that_was_accepted_comes_late(load: int) -> None:
    """At ten times the rate as many tokens per second run as at the limit, in full passes."""
    random = np.random.default_rng(1)
    limit = 8 / (SERVICE(128) / 1e9)
    arrivals = [Arrival(at, (16,), deadline=at + 500 * MS) for at in poisson(random, load * limit, 5.0)]
    result = Simulator((Budget(128),), SERVICE).run(arrivals)
    answered = sum(r.outcome == "answered" for r in result.requests)
    assert answered / 5.0 >= 0.9 * limit
    assert result.idle_ns == 0
    assert not [r for r in result.requests if r.outcome == "late"]
    small = [p for p in result.passes if len(p.work.rows) < 8]
    assert load == 1.0 or len(small) <= 0.02 * len(result.passes)
