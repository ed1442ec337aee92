"""The batching policy, as a specification: what may share a pass, who goes first, who is dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headstock_server.scheduler.policy import NEVER, Budget, Selection, Waiting, select

NOW = 1_000_000


def waiting(
    lengths: Sequence[int],
    *,
    due: Sequence[int] | None = None,
    deadline: Sequence[int] | None = None,
    dead: Sequence[int] | None = None,
    arrival: Sequence[int] | None = None,
    share: Sequence[int] | None = None,
) -> Waiting:
    n = len(lengths)
    columns = [lengths, due or list(range(n)), deadline or [NEVER] * n, arrival or [0] * n, dead or [0] * n]
    return Waiting(*(np.array(column, np.int64) for column in [*columns, share or [0] * n]))


@st.composite
def queues(draw: st.DrawFn) -> Waiting:
    n = draw(st.integers(0, 60))
    lengths = st.one_of(st.integers(1, 40), st.integers(1, 600), st.sampled_from([1, 16, 17, 512, 70_000]))
    times = st.integers(NOW - 1000, NOW + 1000)
    return waiting(
        draw(st.lists(lengths, min_size=n, max_size=n)),
        due=draw(st.lists(times, min_size=n, max_size=n)),
        deadline=draw(st.lists(st.one_of(st.just(NEVER), times), min_size=n, max_size=n)),
        dead=draw(st.lists(st.sampled_from([0, 0, 0, 1]), min_size=n, max_size=n)),
        arrival=draw(st.lists(times, min_size=n, max_size=n)),
    )


budgets = st.builds(
    Budget,
    tokens=st.integers(1, 2048),
    rows=st.sampled_from([1, 2, 8, 1 << 20]),
    waste=st.sampled_from([0.0, 0.1, 0.5]),
)


def padded(queue: Waiting, selection: Selection) -> int:
    return len(selection.rows) * int(queue.length[selection.rows].max())


@given(queues(), budgets)
def test_every_row_leaves_at_most_once_and_for_one_reason(queue: Waiting, budget: Budget) -> None:
    selection = select(queue, budget, NOW)
    leaving = [*selection.rows.tolist(), *selection.expired.tolist(), *selection.dead.tolist()]
    assert len(leaving) == len(set(leaving))
    assert all(0 <= i < len(queue.length) for i in leaving)


@given(queues(), budgets)
def test_rows_that_nobody_waits_for_are_dropped_and_never_run(queue: Waiting, budget: Budget) -> None:
    selection = select(queue, budget, NOW)
    assert set(selection.dead.tolist()) == set(np.flatnonzero(queue.dead).tolist())
    late = set(np.flatnonzero(queue.deadline <= NOW).tolist())
    assert set(selection.expired.tolist()) == late - set(selection.dead.tolist())
    assert not queue.dead[selection.rows].any()
    assert (queue.deadline[selection.rows] > NOW).all()


@given(queues(), budgets)
def test_a_pass_of_several_rows_keeps_the_token_row_and_padding_bounds(queue: Waiting, budget: Budget) -> None:
    selection = select(queue, budget, NOW)
    if len(selection.rows) > 1:
        size = padded(queue, selection)
        assert size <= budget.tokens
        assert len(selection.rows) <= budget.rows
        assert size - int(queue.length[selection.rows].sum()) <= budget.waste * size + 1e-9


@given(queues(), budgets)
def test_the_row_that_is_due_first_is_always_in_the_pass(queue: Waiting, budget: Budget) -> None:
    selection = select(queue, budget, NOW)
    live = np.flatnonzero((queue.dead == 0) & (queue.deadline > NOW))
    if len(live) == 0:
        assert len(selection.rows) == 0
    else:
        assert selection.rows[0] == live[queue.due[live].argmin()]


@given(queues(), budgets)
def test_the_policy_is_a_pure_function(queue: Waiting, budget: Budget) -> None:
    copy = Waiting(*(np.array(getattr(queue, name)) for name in queue.__slots__))
    first, second = select(queue, budget, NOW), select(queue, budget, NOW)
    assert first.rows.tolist() == second.rows.tolist()
    assert all((getattr(queue, n) == getattr(copy, n)).all() for n in queue.__slots__)


def test_a_row_longer_than_the_budget_runs_alone() -> None:
    assert select(waiting([500, 500]), Budget(128), NOW).rows.tolist() == [0]


def test_rows_of_equal_length_fill_the_budget_oldest_first() -> None:
    assert select(waiting([16] * 20), Budget(128), NOW).rows.tolist() == list(range(8))


def test_near_lengths_join_and_distant_ones_wait() -> None:
    queue = waiting([32, 250, 31, 8, 30, 33, 240])
    chosen = select(queue, Budget(256), NOW).rows.tolist()
    assert set(chosen) == {0, 2, 4, 5}


def test_equal_length_families_share_a_pass_only_without_padding() -> None:
    assert select(waiting([20, 21, 20, 19]), Budget(256, waste=0.0), NOW).rows.tolist() == [0, 2]


def test_a_private_lane_never_holds_two_rows() -> None:
    assert select(waiting([16, 16, 16]), Budget(128, rows=1), NOW).rows.tolist() == [0]


def test_a_tight_deadline_goes_before_an_older_row() -> None:
    assert select(waiting([16, 200], due=[NOW + 900, NOW + 5]), Budget(128), NOW).rows.tolist() == [1]


def test_no_delay_is_the_default_and_a_lone_row_runs_at_once() -> None:
    assert select(waiting([16], arrival=[NOW]), Budget(128), NOW).rows.tolist() == [0]


def test_a_configured_delay_waits_for_company_but_not_longer() -> None:
    queue = waiting([16], arrival=[NOW - 300])
    early = select(queue, Budget(128), NOW, max_delay=1000)
    assert early.rows.tolist() == []
    assert early.ready_at == NOW + 700
    assert select(queue, Budget(128), NOW + 700, max_delay=1000).rows.tolist() == [0]


def test_a_configured_delay_does_not_hold_back_a_full_pass() -> None:
    queue = waiting([16] * 9, arrival=[NOW] * 9)
    assert len(select(queue, Budget(128), NOW, max_delay=1000).rows) == 8


@dataclass
class Simulated:
    """A row in the virtual-clock simulation."""

    length: int
    due: int
    arrival: int


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_nobody_starves_while_more_arrives_than_can_run(seed: int) -> None:
    """Short rows with tight deadlines arrive for ever at 150 % of the rate; an odd long row still gets its turn."""
    random = np.random.default_rng(seed)
    patience, token_ns = 100_000, 100
    now = 0
    odd = Simulated(int(random.integers(100, 500)), patience, 0)
    queue = [odd]
    for _ in range(400):
        count = int(random.integers(8, 16))
        queue += [
            Simulated(int(random.integers(8, 12)), now + int(random.integers(0, patience)), now) for _ in range(count)
        ]
        state = waiting([r.length for r in queue], due=[r.due for r in queue], arrival=[r.arrival for r in queue])
        chosen = {*select(state, Budget(80), now).rows.tolist()}
        if any(queue[i] is odd for i in chosen):
            break
        now += 80 * token_ns
        queue = [row for i, row in enumerate(queue) if i not in chosen]
    # Rows that were due before it can only have arrived before its patience ended.
    assert any(queue[i] is odd for i in chosen)
    assert now <= patience + len(queue) * 80 * token_ns
