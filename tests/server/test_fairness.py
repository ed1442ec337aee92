"""Fair shares: when more waits than fits, tenants and models take turns by tokens, and no slot stays empty for it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstock.preprocess import Row
from headstock_server.scheduler import Budget, LaneKey, Ticket
from headstock_server.scheduler.fairness import Shares
from headstock_server.scheduler.lane import Lane
from headstock_server.scheduler.policy import NEVER, Waiting, _counted, select
from headstock_server.scheduler.simulator import (
    Arrival,
    Service,
    Simulated,
    SimulatedBackbone,
    SimulatedModel,
    Simulator,
)

MS = 1_000_000
SERVICE = Service(fixed_ns=2 * MS, token_ns=100_000)
PASS = SERVICE(128)

ANY_MODEL = SimulatedModel("m", SimulatedBackbone(LaneKey("sha256:0", "fp32", "cpu"), Budget(128), 1000.0))

seeds = st.integers(0, 2**32 - 1)
some = settings(max_examples=15, deadline=None)


def simulate(*arrivals: Arrival, budget: int = 128, until: int = NEVER) -> Simulated:
    return Simulator((Budget(budget),), SERVICE).run(arrivals, until)


def flood(rows: int, *, model: str = "a", tenant: str = "", length: int = 16, size: int = 1) -> list[Arrival]:
    """`rows` rows at time 0, `size` in each request."""
    return [Arrival(0, (length,) * size, model, tenant=tenant) for _ in range(rows // size)]


def tokens_of(result: Simulated, until: int) -> Counter[tuple[str, str]]:
    """Tokens that each tenant and model had run in passes that ended by then."""
    seen: Counter[tuple[str, str]] = Counter()
    for p in result.passes:
        if p.end <= until:
            for ticket, row in zip(p.work.tickets, p.work.rows, strict=True):
                seen[ticket.tenant, ticket.model.name] += row.length
    return seen


@pytest.mark.parametrize("what", ["tenant", "model"])
@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("length", [8, 16, 60])
@pytest.mark.parametrize("late", [0, 1])
def test_five_rows_beside_ten_thousand_take_at_most_twice_as_long_as_alone(
    what: str, size: int, length: int, late: int
) -> None:
    """However the ten thousand came and however long the rows are.

    A pass that runs already is waited for, and no pass shrinks for them: less than a full pass counts as one.
    """
    at = 10 * PASS + 1 if late else 0
    few = [Arrival(at, (length,), **{what: "few"}) for _ in range(5)]
    alone = max(r.latency for r in simulate(*few).requests)
    result = simulate(*flood(10_000, size=size), *few, until=at + 20 * PASS)
    beside = max(r.latency if r.answers else 20 * PASS for r in result.requests if r.arrival in few)
    assert beside <= max(2 * alone, PASS) + (PASS if late else 0)


@pytest.mark.parametrize("what", ["tenant", "model"])
def test_who_floods_does_not_lose_a_slot_when_the_others_are_done(what: str) -> None:
    few = [Arrival(0, (16,), **{what: "few"}) for _ in range(5)]
    result = simulate(*flood(1003), *few)
    assert [p.padded for p in result.passes] == [128] * 126


@some
@given(seeds)
def test_tenants_that_both_have_enough_to_do_get_equal_tokens_whatever_their_rows_are_like(seed: int) -> None:
    random = np.random.default_rng(seed)
    arrivals = [
        Arrival(0, (int(random.choice(lengths)),), f"m{random.integers(models)}", tenant=tenant)
        for tenant, lengths, models in (("a", [8, 10], 1), ("b", [40, 60, 200], 5), ("c", [9, 16, 100], 2))
        for _ in range(400)
    ]
    result = simulate(*arrivals)
    until = 8 * PASS * 4
    had = Counter[str]()
    for (tenant, _), tokens in tokens_of(result, until).items():
        had[tenant] += tokens
    assert max(had.values()) - min(had.values()) <= 2 * 200 + 128


def test_the_models_of_a_tenant_share_its_part_and_not_more() -> None:
    """Nine models of one tenant have together what the only model of the other has."""
    arrivals = [a for i in range(9) for a in flood(200, model=f"m{i}", tenant="many")]
    had = tokens_of(simulate(*arrivals, *flood(2000, tenant="one"), until=40 * PASS), 40 * PASS)
    one = had.pop(("one", "a"))
    assert len(had) == 9
    assert abs(sum(had.values()) - one) <= 256
    assert max(had.values()) - min(had.values()) <= 128


@pytest.mark.parametrize("what", ["tenant", "model"])
def test_who_was_away_neither_saved_up_nor_owes(what: str) -> None:
    """Who comes back gets a half from then on: not all that was missed, and no less for what was had."""
    first = [Arrival(0, (16,), **{what: "stays"}) for _ in range(4000)]
    second = [Arrival(0, (16,), **{what: "returns"}) for _ in range(80)]
    back = [Arrival(200 * PASS, (16,), **{what: "returns"}) for _ in range(400)]
    result = simulate(*first, *second, *back, until=240 * PASS)
    before, after = tokens_of(result, 200 * PASS), tokens_of(result, 240 * PASS)
    gained = Counter[str]()
    for (tenant, model), tokens in (after - before).items():
        gained[tenant or model] += tokens
    assert abs(gained["stays"] - gained["returns"]) <= 256


def test_a_high_priority_goes_first_and_the_default_still_gets_its_turn() -> None:
    normal = [Arrival(0, (16,), f"m{i % 3}") for i in range(600)]
    urgent = [Arrival(10 * PASS + 1, (16,), "m1", priority=1) for _ in range(4)]
    result = simulate(*normal, *urgent)
    assert max(r.latency for r in result.requests if r.arrival.priority) <= 2 * PASS
    everything = [Arrival(0, (16,), priority=1) for _ in range(600)]
    had = Counter(t.priority for p in simulate(*normal, *everything).passes[:40] for t in p.work.tickets)
    assert had[1] > 2 * had[0]
    assert had[0] >= 30


def test_a_priority_is_no_advantage_over_another_tenant() -> None:
    pushing = [Arrival(0, (16,), tenant="pushes", priority=1) for _ in range(600)]
    had = tokens_of(simulate(*pushing, *flood(600, tenant="waits")), 40 * PASS)
    assert abs(had["pushes", "a"] - had["waits", "a"]) <= 256


def test_inside_a_share_the_earliest_deadlines_go_first() -> None:
    arrivals = [Arrival(0, (16,), deadline=(i + 2) * PASS) for i in reversed(range(64))]
    result = simulate(*arrivals, *flood(64, tenant="other"))
    order = [r.arrival.deadline for r in sorted(result.requests, key=lambda r: r.at) if r.arrival.deadline]
    groups = [sorted(order)[i : i + 4] for i in range(0, 64, 4)]
    for i, group in enumerate(groups):
        assert set(group) <= set(order[max(0, 4 * i - 8) : 4 * i + 12])


def test_many_models_in_balance_do_not_pay_with_padding() -> None:
    """A hundred models with rows of all lengths: the passes stay about as full as those of one model."""
    random = np.random.default_rng(5)
    lengths = random.integers(8, 257, 3000).tolist()
    alone = simulate(*[Arrival(0, (n,)) for n in lengths], budget=256)
    mixed = simulate(*[Arrival(0, (n,), f"m{i % 100}") for i, n in enumerate(lengths)], budget=256)
    assert max(r.at for r in mixed.requests) <= 1.03 * max(r.at for r in alone.requests)


def test_a_flood_of_one_backbone_does_not_hold_up_another() -> None:
    crowd = flood(4000)
    few = [Arrival(50 * PASS + 1, (16,), backbone=1) for _ in range(5)]
    result = Simulator((Budget(128), Budget(128)), SERVICE).run([*crowd, *few], until=80 * PASS)
    assert all(r.answers for r in result.requests if r.arrival in few)
    assert max(r.latency for r in result.requests if r.arrival in few) <= 5 * PASS


@some
@given(seeds)
def test_fairness_never_costs_a_slot_that_the_lengths_would_allow(seed: int) -> None:
    """With equal lengths a pass is full whenever enough rows wait, whoever they belong to."""
    random = np.random.default_rng(seed)
    n = int(random.integers(9, 200))
    share = np.sort(random.integers(0, 5, n))
    shares = Shares()
    for i in range(5):
        shares.place(f"t{i % 2}", f"m{i}", int(random.integers(4)))
    zeros = np.zeros(n, np.int64)
    for _ in range(3):
        queue = Waiting(zeros + 16, random.permutation(n), zeros + NEVER, zeros, zeros, share)
        selection = select(queue, Budget(128), 0, standing=shares.standing())
        assert len(set(selection.rows.tolist())) == 8
        shares.charge(share[selection.rows], queue.length[selection.rows])


def test_invented_priorities_are_no_advantage() -> None:
    """Twenty numbers that mean nothing special are one level: the model beside gets its half."""
    inventive = [Arrival(0, (16,), "b", priority=4 + i % 20) for i in range(600)]
    had = tokens_of(simulate(*inventive, *flood(600)), 40 * PASS)
    assert abs(had["", "a"] - had["", "b"]) <= 256


@pytest.mark.parametrize("priority, level", [(0, 0), (1, 1), (2, 2), (3, 3), (4, 0), (2**64 - 1, 0), (-1, 0)])
def test_a_priority_without_a_weight_of_its_own_is_the_default(priority: int, level: int) -> None:
    assert Ticket(ANY_MODEL, [], priority=priority).priority == level
    shares = Shares()
    assert shares.place("t", "m", priority) == shares.place("t", "m", level)


def test_a_lane_that_never_empties_forgets_who_waits_no_longer() -> None:
    """Ten thousand tenants pass by, each gone when the next few have come; one stays, and keeps its level."""
    lane = Lane(ANY_MODEL.backbone, 0)
    stays = Ticket(ANY_MODEL, [Row({}, 16)] * 3000, tenant="stays")
    lane.admit(stays)
    for i in range(10_000):
        lane.admit(Ticket(ANY_MODEL, [Row({}, 16)], tenant=f"t{i}"))
        if i % 8 == 7:
            lane.pick(i, 0)
    assert stays.waiting > 0
    assert len(lane._shares) < 4000


def test_compacting_keeps_the_levels_of_those_that_wait() -> None:
    shares, numbers = Shares(), []
    for i in range(6):
        numbers.append(shares.place(f"t{i // 2}", f"m{i}", 0))
    shares.standing()
    shares.charge(np.array([5, 5, 3]), np.array([40, 2, 7]))
    standing = shares.standing()
    assert standing is not None
    waiting = np.array([5, 3, 5, 0])
    renumbered = shares.compact(waiting)
    after = shares.standing()
    assert after is not None
    assert len(after.tenant) == 3
    for name in ("weight", "served"):
        np.testing.assert_array_equal(getattr(after, name)[renumbered], getattr(standing, name)[waiting])
    np.testing.assert_array_equal(
        after.tenant_served[after.tenant[renumbered]], standing.tenant_served[standing.tenant[waiting]]
    )
    assert shares.place("t2", "m5", 0) == renumbered[0]


def test_more_shares_than_sixteen_bits_hold_are_told_apart() -> None:
    """The seventy-thousandth share is not taken for the one whose number is 65,536 less."""
    count = 70_000
    shares = Shares()
    tokens = np.full(count, 16, np.int64)
    share = np.array([shares.place("", f"m{i}", 0) for i in range(count)])
    allowed = np.zeros(count)
    allowed[count - 1] = 16
    within = _counted(share, tokens, allowed)
    assert np.flatnonzero(within).tolist() == [count - 1]
