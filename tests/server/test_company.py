"""After a pass the runner waits a moment for those who were answered, as long as they keep coming back."""

from __future__ import annotations

import pytest

from headstock_server.scheduler.company import Company

MS = 1_000_000


def cycle(company: Company, start: int, answered: int, back: list[int], ran_ms: int = 40) -> None:
    """A pass that ends at `start`, and requests that many milliseconds after it."""
    company.answered(answered, ran_ms * MS, start)
    for at in back:
        company.asked(start + at * MS)


def test_nobody_is_expected_before_the_first_pass() -> None:
    company = Company()
    assert company.complete
    assert company.until(0) == 0
    company.asked(5)
    assert company.until(5) == 0


def test_a_pass_with_room_waits_until_as_many_asked_as_were_answered() -> None:
    company = Company()
    company.answered(3, 40 * MS, 0)
    for number in range(3):
        assert not company.complete
        assert company.until(number * MS) > number * MS
        company.asked(number * MS)
    assert company.complete
    assert company.until(2 * MS) == 0


def test_a_single_caller_makes_nobody_wait() -> None:
    company = Company()
    cycle(company, 0, 1, [1])
    assert company.complete
    assert company.until(MS) == 0


def test_a_wait_is_short_beside_the_pass_and_bounded() -> None:
    company = Company()
    company.answered(8, 2 * MS, 0)
    assert 0 < company.until(0) <= MS // 2
    company = Company()
    company.answered(8, 10_000 * MS, 0)
    assert 0 < company.until(0) <= 4 * MS


def test_all_waits_of_one_pass_together_are_bounded() -> None:
    """However slowly they come, one by one, the first of them is not held for ever."""
    company = Company()
    company.answered(1000, 16 * MS, 0)
    now = 0
    while company.until(now):
        now += 3 * MS
        company.asked(now)
        assert now < 20 * MS
    assert now <= 9 * MS


def test_who_does_not_come_back_is_no_longer_waited_for() -> None:
    company = Company()
    for number in range(10):
        cycle(company, number * 1000 * MS, 4, [])
    assert company.until(9000 * MS) == 0


def test_who_comes_back_again_is_waited_for_again() -> None:
    company = Company()
    for number in range(10):
        cycle(company, number * 1000 * MS, 4, [])
    for number in range(10, 20):
        cycle(company, number * 1000 * MS, 4, [1, 2, 3, 4])
    company.answered(4, 40 * MS, 20_000 * MS)
    assert company.until(20_000 * MS) > 20_000 * MS


def test_a_request_that_came_before_the_answers_is_somebody_else() -> None:
    """It waited for the lock while the pass was put down."""
    company = Company()
    company.answered(1, 16 * MS, 10 * MS)
    company.asked(9 * MS)
    assert not company.complete
    assert company.until(10 * MS) == 14 * MS


@pytest.mark.parametrize("late", [9, 100])
def test_a_request_that_comes_much_later_is_somebody_else(late: int) -> None:
    company = Company()
    company.answered(2, 16 * MS, 0)
    company.asked(late * MS)
    assert not company.complete
    assert company.until(late * MS) == 0
