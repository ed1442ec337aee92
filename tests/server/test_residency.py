"""Which backbones stay in memory: the policy alone, under any order of loads, requests and closings."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headstock.errors import Exhausted, FailedPrecondition
from headstock_server.engine.residency import Residency, ResidentKey

KEYS = [ResidentKey(f"sha256:{name}") for name in "abcdef"]
SIZES = dict(zip(KEYS, (10, 20, 30, 40, 50, 60), strict=True))
BUDGET = 100


def loaded(policy: Residency, key: ResidentKey, used: int = 0) -> None:
    """Bring a backbone in, as a load does that ends well."""
    assert policy.enter(key, SIZES[key])
    policy.opened(key)
    policy.settle(key)
    policy.residents[key].usage.used_ns = used


def test_the_least_recently_used_leaves_first() -> None:
    policy = Residency(BUDGET)
    for key, used in ((KEYS[0], 3), (KEYS[1], 1), (KEYS[2], 2)):
        loaded(policy, key, used)
    assert policy.leave(KEYS[4], SIZES[KEYS[4]]) == [KEYS[1]]


def test_one_without_requests_leaves_before_one_that_answers_some() -> None:
    policy = Residency(BUDGET)
    loaded(policy, KEYS[1], used=1)
    loaded(policy, KEYS[2], used=2)
    policy.residents[KEYS[1]].usage.in_flight = 1
    assert policy.leave(KEYS[5], SIZES[KEYS[5]]) == [KEYS[2]]


def test_no_more_leave_than_must() -> None:
    policy = Residency(BUDGET)
    for used, key in enumerate(KEYS[:3]):
        loaded(policy, key, used)
    assert policy.leave(KEYS[3], SIZES[KEYS[3]]) == []
    assert policy.leave(KEYS[4], SIZES[KEYS[4]]) == [KEYS[0]]


def test_nobody_is_told_to_leave_in_vain() -> None:
    policy = Residency(BUDGET)
    for used, key in enumerate(KEYS[:3]):
        loaded(policy, key, used)
    policy.pin({KEYS[1], KEYS[2]})
    with pytest.raises(Exhausted, match="50 bytes are pinned"):
        policy.leave(KEYS[5], SIZES[KEYS[5]])
    assert not any(resident.leaving for resident in policy.residents.values())


def test_what_is_larger_than_the_budget_says_which_budget_would_do() -> None:
    with pytest.raises(FailedPrecondition, match="more than the whole memory budget") as caught:
        Residency(BUDGET).leave(KEYS[0], BUDGET + 1)
    assert caught.value.fix == "headstock serve --memory-budget 1M"


def test_a_head_that_no_longer_fits_makes_another_backbone_leave_and_not_its_own() -> None:
    policy = Residency(BUDGET)
    for used, key in enumerate(KEYS[:3]):
        loaded(policy, key, used)
    assert policy.enter(KEYS[0], SIZES[KEYS[0]], 40)
    assert policy.size == BUDGET
    policy.settle(KEYS[0], 40)
    policy.hold(KEYS[0], 40)
    assert not policy.enter(KEYS[0], SIZES[KEYS[0]], 5)
    assert policy.leave(KEYS[0], SIZES[KEYS[0]], 5) == [KEYS[1]]
    policy.closed(KEYS[1])
    assert policy.enter(KEYS[0], SIZES[KEYS[0]], 5)


def test_heads_that_outgrow_the_whole_budget_are_refused() -> None:
    policy = Residency(BUDGET)
    loaded(policy, KEYS[0])
    policy.hold(KEYS[0], 80)
    with pytest.raises(FailedPrecondition, match="takes about 101 bytes"):
        policy.leave(KEYS[0], SIZES[KEYS[0]], 11)


def test_without_a_budget_everything_stays() -> None:
    policy = Residency()
    for key in KEYS:
        loaded(policy, key)
    assert policy.leave(KEYS[0], 1 << 40) == []
    assert policy.size == sum(SIZES[key] for key in KEYS)


STEM = ResidentKey("sha256:s", stem="sha256:s")
UPPERS = [ResidentKey(f"sha256:{name}", stem="sha256:s") for name in "uv"]
SIZES |= {STEM: 40, UPPERS[0]: 10, UPPERS[1]: 10}


def test_a_stem_stays_while_anything_stands_on_it() -> None:
    policy = Residency(BUDGET)
    for used, key in enumerate([STEM, *UPPERS]):
        loaded(policy, key, used)
    assert policy.leave(KEYS[0], 45) == [UPPERS[0]]
    assert not policy.residents[STEM].leaving


def test_a_stem_leaves_by_itself_when_all_that_stands_on_it_must() -> None:
    policy = Residency(BUDGET)
    for used, key in enumerate([STEM, *UPPERS]):
        loaded(policy, key, used)
    assert policy.leave(KEYS[0], 95) == UPPERS
    assert policy.residents[STEM].leaving
    assert policy.evictions == 2
    for key in (*UPPERS, STEM):
        policy.closed(key)
    assert policy.enter(KEYS[0], 95)


def test_a_stem_that_another_backbone_is_being_loaded_on_is_in_the_way() -> None:
    policy = Residency(BUDGET)
    for used, key in enumerate([STEM, *UPPERS]):
        loaded(policy, key, used)
    policy.enter(STEM, SIZES[STEM])
    with pytest.raises(Exhausted, match="40 bytes are pinned or being loaded"):
        policy.leave(KEYS[0], 95)
    assert not any(resident.leaving for resident in policy.residents.values())


class AnyOrder(RuleBasedStateMachine):
    """Loads, requests, pins, evictions and closings as they may come."""

    def __init__(self) -> None:
        super().__init__()
        self.policy = Residency(BUDGET)
        self.clock = 0
        self.parts: dict[ResidentKey, list[int]] = {}

    @rule(key=st.sampled_from(KEYS), part=st.integers(0, 12))
    def begin_to_load(self, key: ResidentKey, part: int) -> None:
        needed = part if key in self.policy.residents else SIZES[key] + part
        fits = self.policy.size + needed <= BUDGET
        assert self.policy.enter(key, SIZES[key], part) == (needed == 0 or fits)
        if needed == 0 or fits:
            self.parts.setdefault(key, []).append(part)

    @precondition(lambda self: any(r.loads for r in self.policy.residents.values()))
    @rule(data=st.data(), well=st.booleans())
    def end_a_load(self, data: st.DataObject, well: bool) -> None:
        key = data.draw(st.sampled_from([k for k, r in self.policy.residents.items() if r.loads]))
        if well and not self.policy.residents[key].sessions:
            self.policy.opened(key)
        self.policy.settle(key, self.parts[key].pop())

    @precondition(lambda self: any(r.sessions for r in self.policy.residents.values()))
    @rule(data=st.data(), count=st.integers(0, 3))
    def use(self, data: st.DataObject, count: int) -> None:
        key = data.draw(st.sampled_from([k for k, r in self.policy.residents.items() if r.sessions]))
        self.clock += 1
        usage = self.policy.residents[key].usage
        usage.used_ns, usage.in_flight = self.clock, count

    @rule(keys=st.sets(st.sampled_from(KEYS), max_size=2))
    def pin(self, keys: set[ResidentKey]) -> None:
        self.policy.pin(keys)

    @rule(key=st.sampled_from(KEYS), part=st.integers(0, 12))
    def ask_for_room(self, key: ResidentKey, part: int) -> None:
        before = {k: (r.evictable, r.usage.in_flight, r.usage.used_ns) for k, r in self.policy.residents.items()}
        try:
            gone = self.policy.leave(key, SIZES[key], part)
        except Exhausted:
            blocked = sum(r.total for k, r in self.policy.residents.items() if k == key or r.pinned or r.loads)
            assert blocked + part + (0 if key in self.policy.residents else SIZES[key]) > BUDGET
            return
        except FailedPrecondition:
            assert part + (self.policy.residents[key].total if key in self.policy.residents else SIZES[key]) > BUDGET
            return
        assert key not in gone
        assert all(before[k][0] for k in gone)
        stay = [k for k, (evictable, *_) in before.items() if evictable and k not in gone and k != key]
        for k in gone:
            # Whoever stays was used later, or has requests while this one has none.
            assert all((before[k][1] > 0, before[k][2]) <= (before[s][1] > 0, before[s][2]) for s in stay)
        if part or key not in self.policy.residents:
            staying = sum(r.total for k, r in self.policy.residents.items() if k == key or not r.leaving)
            assert staying + part + (0 if key in self.policy.residents else SIZES[key]) <= BUDGET

    @precondition(lambda self: any(r.sessions for r in self.policy.residents.values()))
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from([k for k, r in self.policy.residents.items() if r.sessions]))
        self.policy.closed(key)

    @invariant()
    def the_budget_holds(self) -> None:
        assert self.policy.size <= BUDGET

    @invariant()
    def nothing_is_kept_for_nobody(self) -> None:
        assert all(r.loads or r.sessions for r in self.policy.residents.values())


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_what_others_load_beside_it_is_no_reason_to_refuse_a_model_for_good() -> None:
    """Their reservations count beside what they replace; once they are settled, what is too large is refused."""
    residency = Residency(100)
    key = ResidentKey("sha256:shared")
    assert residency.enter(key, 40, 30)
    residency.opened(key)
    residency.check(key, 40, 40)
    with pytest.raises(Exhausted):
        residency.leave(key, 40, 40)
    residency.hold(key, 30)
    residency.settle(key, 30)
    with pytest.raises(FailedPrecondition, match="more than the whole memory budget"):
        residency.check(key, 40, 40)
