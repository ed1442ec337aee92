"""Deadlines: a pass grows only as far as its most urgent row can bear, and what cannot be in time costs nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstock_server.scheduler import Budget
from headstock_server.scheduler.fairness import Shares
from headstock_server.scheduler.pace import Pace, PaceMeter
from headstock_server.scheduler.policy import NEVER, WAKING, Reason, Waiting, select
from headstock_server.scheduler.simulator import Arrival, Service, Simulator, poisson

MS = 1_000_000
SERVICE = Service(fixed_ns=2 * MS, token_ns=100_000)
PACE = Pace(2 * MS, 100_000)
ATTENTION = Service(fixed_ns=1 * MS, token_ns=100_000, pair_ns=400)
"""A token of a row of 250 costs twice what it costs in a short one."""
PASS = SERVICE(128)


def queue(lengths: list[int], deadlines: list[int]) -> Waiting:
    zeros = np.zeros(len(lengths), np.int64)
    length, deadline = np.array(lengths, np.int64), np.array(deadlines, np.int64)
    return Waiting(length, np.minimum(deadline, 1000 * MS), deadline, zeros, zeros, zeros)


def test_a_pass_does_not_grow_past_what_its_most_urgent_row_can_bear() -> None:
    """Eight rows fit; in 8 ms only 60 padded tokens run, so three rows go and the rest follow."""
    selection = select(queue([16] * 8, [8 * MS] + [NEVER] * 7), Budget(128), 0, pace=PACE)
    assert len(selection.rows) == 3
    assert selection.rows[0] == 0
    assert selection.reason is Reason.DEADLINE


def test_a_row_in_a_hurry_stays_out_of_a_pass_that_is_too_large_for_it_only_if_it_is_not_the_seed() -> None:
    hurry = queue([16, 16, 16, 16], [100 * MS, 6 * MS, 200 * MS, 200 * MS])
    selection = select(hurry, Budget(128), 0, pace=PACE)
    assert selection.rows[0] == 1
    assert len(selection.rows) == 2


def test_rows_without_a_hurry_fill_the_pass() -> None:
    selection = select(queue([16] * 9, [50 * MS] * 9), Budget(128), 0, pace=PACE)
    assert len(selection.rows) == 8
    assert selection.reason is Reason.FULL


def test_a_row_that_would_be_late_even_alone_gives_way_to_rows_that_would_not() -> None:
    selection = select(queue([100, 16], [5 * MS, 50 * MS]), Budget(128), 0, pace=PACE)
    assert (selection.rows.tolist(), selection.expired.tolist()) == ([1], [0])


def test_if_nothing_could_be_in_time_it_is_tried_all_the_same() -> None:
    """The estimate may be wrong, and only a pass can correct it."""
    selection = select(queue([100, 100], [5 * MS, 6 * MS]), Budget(256), 0, pace=PACE)
    assert len(selection.rows) == 2
    assert selection.expired.tolist() == []


def test_waiting_for_company_ends_before_it_makes_a_row_late() -> None:
    waits = queue([16], [30 * MS])
    selection = select(waits, Budget(128), 0, max_delay=100 * MS, pace=PACE)
    assert selection.rows.tolist() == []
    assert selection.ready_at == 30 * MS - SERVICE(16) - WAKING


@pytest.mark.parametrize("late", [0, 10_000, 100_000, 4 * MS])
def test_a_row_that_waited_for_company_is_in_time_though_the_runner_wakes_late(late: int) -> None:
    """Also where another row is in no hurry, and could go without it."""
    waits = queue([16, 16], [30 * MS, NEVER])
    ready_at = select(waits, Budget(128), 0, pace=PACE, company_until=100 * MS).ready_at
    selection = select(waits, Budget(128), ready_at + late, pace=PACE, company_until=100 * MS)
    assert (selection.rows.tolist(), selection.expired.tolist()) == ([0, 1], [])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=40), st.data())
def test_no_pass_makes_a_row_late_that_could_have_been_in_time(
    rows: list[tuple[int, int]], data: st.DataObject
) -> None:
    deadlines = [d * MS if data.draw(st.booleans()) else NEVER for _, d in rows]
    state = queue([n for n, _ in rows], deadlines)
    selection = select(state, Budget(256), 0, pace=PACE)
    end = PACE.time(len(selection.rows) * int(state.length[selection.rows].max()))
    alone = np.array([PACE.time(n) for n, _ in rows])
    possible = alone <= state.deadline
    if possible.any():
        assert (state.deadline[selection.rows] >= end).all()
        assert not possible[selection.expired].any()


def test_a_row_of_another_share_is_not_made_late_by_joining() -> None:
    """Whose turn it is may have time; a neighbour that has none joins a small pass or waits for its own turn."""
    shares = Shares()
    mine, other = shares.place("", "mine", 0), shares.place("", "other", 0)
    state = queue([16] * 8, [NEVER] * 6 + [5 * MS] * 2)
    share = np.array([mine] * 6 + [other] * 2, np.int64)
    shares.standing()
    shares.charge(share[6:], state.length[6:])
    mixed = Waiting(state.length, state.due, state.deadline, state.arrival, state.dead, share)
    selection = select(mixed, Budget(112), 0, standing=shares.standing(), pace=PACE)
    assert selection.rows.tolist() == [0, 1, 2, 3, 4, 5]
    assert selection.reason is Reason.DEADLINE


def test_an_urgent_request_is_in_time_among_rows_that_are_not() -> None:
    crowd = [Arrival(0, (16,), deadline=900 * MS) for _ in range(40)]
    urgent = Arrival(6 * MS, (16,), deadline=18 * MS)
    result = Simulator((Budget(128),), Service(0, 100_000)).run([*crowd, urgent])
    assert all(r.outcome == "answered" and r.at <= (r.arrival.deadline or 0) for r in result.requests)


@pytest.mark.parametrize("load", [1.5, 2.0, 10.0])
def test_under_overload_with_deadlines_what_runs_is_in_time(load: float) -> None:
    """Earliest deadline first alone breaks down here: every pass would end a moment too late."""
    random = np.random.default_rng(3)
    limit = 8 / (PASS / 1e9)
    arrivals = [
        Arrival(at, (16,), deadline=at + int(random.integers(40, 120)) * MS)
        for at in poisson(random, load * limit, 2.0)
    ]
    result = Simulator((Budget(128),), SERVICE).run(arrivals)
    good = sum(r.outcome == "answered" and r.at <= (r.arrival.deadline or 0) for r in result.requests)
    ran = sum(len(p.work.rows) for p in result.passes)
    assert good >= 0.95 * ran
    # Passes that hurry are smaller, so that the limit itself is not reached.
    assert good / 2.0 >= 0.7 * limit


def test_a_deadline_that_the_queue_makes_impossible_is_refused_on_arrival() -> None:
    first = [Arrival(0, (16,), deadline=200 * MS) for _ in range(160)]
    hopeless = Arrival(1, (16,) * 40, deadline=220 * MS)
    fine = Arrival(2, (16,), deadline=100 * MS)
    result = Simulator((Budget(128),), SERVICE).run([*first, hopeless, fine])
    outcomes = {r.arrival: (r.outcome, r.latency) for r in result.requests}
    assert outcomes[hopeless] == ("refused", 0)
    assert outcomes[fine][0] == "answered"


def test_what_others_wait_for_is_no_reason_to_refuse() -> None:
    """Another tenant's queue and rows that are due later do not stand before a request."""
    others = [Arrival(0, (16,), deadline=100 * MS, tenant="other") for _ in range(160)]
    later = [Arrival(0, (16,), deadline=9000 * MS) for _ in range(160)]
    urgent = Arrival(1, (16,), deadline=100 * MS)
    result = Simulator((Budget(128),), SERVICE).run([*others, *later, urgent])
    (request,) = [r for r in result.requests if r.arrival is urgent]
    assert request.outcome == "answered"
    assert request.at <= 100 * MS


@pytest.mark.parametrize("seed", range(4))
def test_what_is_refused_on_arrival_could_not_have_been_in_time(seed: int) -> None:
    """Nobody is refused while all that was asked for and is due before his deadline fits before it."""
    random = np.random.default_rng(seed)
    arrivals = [
        Arrival(at, (16,) * int(random.integers(1, 4)), deadline=at + int(random.integers(20, 400)) * MS)
        for at in poisson(random, 900, 0.5)
    ]
    result = Simulator((Budget(128),), SERVICE).run(arrivals)
    refused = [r.arrival for r in result.requests if r.outcome == "refused"]
    assert refused
    for arrival in refused:
        wanted = arrival.deadline or 0
        before = [a for a in arrivals if a.at <= arrival.at and (a.deadline or 0) <= wanted]
        demand = sum(16 * len(a.lengths) * PASS / 128 for a in before)
        assert demand > wanted - arrival.at


def test_the_pace_of_a_lane_follows_what_its_passes_take() -> None:
    meter = PaceMeter(token_ns=500_000, tokens=128)
    assert meter.pace.time(128) == pytest.approx(64 * MS)
    for size in [16, 128, 64, 32] * 40:
        meter.observe(size // 16, 16, SERVICE(size))
    for size in (16, 64, 128):
        assert meter.pace.time(size) == pytest.approx(SERVICE(size), rel=0.15)
        assert meter.pace.of(size // 16, 16) == pytest.approx(SERVICE(size), rel=0.15)


def test_passes_of_one_size_give_a_proportional_pace() -> None:
    meter = PaceMeter(token_ns=100, tokens=128)
    for _ in range(300):
        meter.observe(4, 16, 6_400_000)
    assert meter.pace.time(64) == pytest.approx(6_400_000, rel=0.02)
    assert meter.pace.fixed_ns >= 0


def test_one_stall_does_not_make_the_pace_believe_in_stalls() -> None:
    meter = PaceMeter(token_ns=100_000, tokens=128)
    for _ in range(50):
        meter.observe(8, 16, 12_800_000)
    meter.observe(8, 16, 5_000_000_000)
    assert meter.pace.time(128) < 1.1 * 12_800_000
    assert meter.pace.of(8, 16) < 1.1 * 12_800_000


def test_the_table_knows_what_the_line_cannot() -> None:
    """Short and long rows with as many tokens in all differ twofold; the line goes between them, the table does not."""
    meter = PaceMeter(token_ns=100_000, tokens=128)
    for _ in range(60):
        meter.observe(16, 16, ATTENTION(256, 16))
        meter.observe(1, 256, ATTENTION(256, 256))
    for rows, longest in ((16, 16), (1, 256)):
        wanted = ATTENTION(256, longest)
        assert meter.pace.of(rows, longest) == pytest.approx(wanted, rel=0.05)
        assert abs(meter.pace.time(256) - wanted) > 0.2 * wanted


def test_a_size_that_was_never_seen_takes_after_the_nearest_of_its_length() -> None:
    """Two long rows: the profile timed one. Rows of a length that nobody timed are on the line."""
    meter = PaceMeter(100_000, 128, [(1, 16, ATTENTION(16, 16)), (1, 256, ATTENTION(256, 256))])
    assert meter.pace.of(2, 256) == pytest.approx(2 * meter.pace.of(1, 256), rel=0.01)
    assert meter.pace.of(3, 1024) == meter.pace.time(3072)
    lengths = np.array([1, 2, 16, 17, 255, 256, 257, 1024])
    np.testing.assert_allclose(meter.pace.alone(lengths), [meter.pace.of(1, int(n)) for n in lengths])


def test_the_table_follows_what_passes_take_and_forgets_the_profile() -> None:
    meter = PaceMeter(100_000, 128, [(1, 256, 1.0 * MS)])
    for _ in range(60):
        meter.observe(1, 256, 30 * MS)
    assert meter.pace.of(1, 256) == pytest.approx(30 * MS, rel=0.1)
    assert meter.pace.token(256) == pytest.approx(30 * MS / 256, rel=0.2)


def test_a_pass_of_long_rows_grows_only_as_far_as_the_table_says() -> None:
    """In 90 ms the line would have let both rows go together, and they would have been late."""
    meter = PaceMeter(100_000, 128, [(1, 16, ATTENTION(16, 16)), (1, 256, ATTENTION(256, 256))])
    state = queue([256, 256], [90 * MS] * 2)
    line = Pace(meter.pace.fixed_ns, meter.pace.token_ns)
    assert len(select(state, Budget(512), 0, pace=line).rows) == 2
    assert ATTENTION(512, 256) > 90 * MS
    assert len(select(state, Budget(512), 0, pace=meter.pace).rows) == 1


def test_long_rows_are_in_time_by_the_table_and_late_by_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mostly short rows teach the line that tokens are cheap; every fifth request is four long rows in a hurry."""
    times = poisson(np.random.default_rng(7), 25, 10.0)
    arrivals = [
        Arrival(at, (256,) * 4, deadline=at + 250 * MS) if i % 5 == 4 else Arrival(at, (16,) * 4)
        for i, at in enumerate(times)
    ]

    def ran_and_late() -> tuple[int, int]:
        measured = [(1, n, float(ATTENTION(n, n))) for n in (16, 64, 256)]
        result = Simulator((Budget(2048),), ATTENTION, measured=measured).run(arrivals)
        ran = [r for r in result.requests if r.arrival.deadline is not None and r.outcome == "answered"]
        return len(ran), sum(r.at > (r.arrival.deadline or 0) for r in ran)

    with_table = ran_and_late()
    monkeypatch.setattr(PaceMeter, "_measured", lambda self, rows, longest, ns: {})
    with_line = ran_and_late()
    assert with_table[1] == 0
    assert with_line[1] >= 3
    assert with_table[0] >= with_line[0] - with_line[1]


def test_a_timeout_that_fits_no_clock_is_no_deadline() -> None:
    """Nanoseconds of 2**63 microseconds overflow; the lane must not."""
    endless = [Arrival(0, (16,), deadline=(2**63 - 1) * 1000), Arrival(0, (16,))]
    result = Simulator((Budget(128),), SERVICE).run(endless)
    assert [r.outcome for r in result.requests] == ["answered", "answered"]
