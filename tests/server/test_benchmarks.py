"""What the benchmarks compute from what they see: rates, lengths, schedules, recovery."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from headstock_server.bench.figures import Sample

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ModuleType:
    """A module of the benchmarks' folder, by the test's parameter."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module(request.param)


@pytest.mark.parametrize("script", ["_common"], indirect=True)
def test_a_rate_counts_whole_turns_of_the_requests(script: ModuleType) -> None:
    """Every third answer takes a second and the others nothing: half a turn more or less must not change the rate."""
    ends = [float(np.ceil(i / 3)) for i in range(3 * 7)]
    for cut in range(4, len(ends)):
        assert script._slope(ends[:cut], 3) == pytest.approx(3.0)
    assert script._slope([1.0], 3) == script._slope([], 3) == 0.0


@pytest.mark.parametrize("script", ["_mixed"], indirect=True)
def test_mixed_lengths_are_log_normal_within_their_bounds(script: ModuleType) -> None:
    for count in (64, 256):
        lengths = script.mixed_lengths(count)
        assert len(lengths) == count
        assert min(lengths) >= 8
        assert max(lengths) <= 256
        assert np.mean(lengths) == pytest.approx(47, abs=1.5)
        assert np.median(lengths) == pytest.approx(37, abs=1)
        assert np.percentile(lengths, 95) == pytest.approx(117, abs=6)
    assert script.mixed_lengths(64) != sorted(script.mixed_lengths(64))


@pytest.mark.parametrize("script", ["overload"], indirect=True)
def test_the_schedule_of_an_overload_changes_its_rate_at_the_edges(script: ModuleType) -> None:
    due = np.array(list(script._schedule([50.0, 1000.0, 50.0], [10.0, 20.0, 30.0], 0)))
    assert (np.diff(due) >= 0).all()
    counts = np.histogram(due, [0, 10, 20, 30])[0]
    assert counts == pytest.approx([500, 10_000, 500], rel=0.15)


@pytest.mark.parametrize("script", ["overload"], indirect=True)
def test_recovery_is_when_nothing_fails_any_more_and_all_is_as_fast_as_before(script: ModuleType) -> None:
    """Ten requests a second from moment 100; the one due after 1.5 s fails, and until 2.6 s they are slow."""

    def sample(at: float) -> Sample:
        code = "DEADLINE_EXCEEDED" if 1.45 < at < 1.55 else "OK"
        return Sample("m", 100 + at, 100 + at, 100 + at + (0.5 if at < 2.6 else 0.02), code)

    after = [sample(i / 10) for i in range(120)]
    assert script._recovery(after, 20.0) == pytest.approx(2.25, abs=0.26)
    assert script._recovery(after, 300.0) == pytest.approx(1.75, abs=0.01)
    assert script._recovery([sample(3 + i / 10) for i in range(120)], 20.0) == 0.0
    assert script._recovery([sample(i / 100) for i in range(120)], 20.0) == pytest.approx(1.25, abs=0.26)
    slow = [Sample("m", 100 + i / 10, 100 + i / 10, 101 + i / 10, "OK") for i in range(120)]
    assert script._recovery(slow, 20.0) == float("inf")


@pytest.mark.parametrize("script", ["overload"], indirect=True)
def test_a_refusal_comes_before_the_deadline_and_goodput_is_what_came_in_time(script: ModuleType) -> None:
    quick = [Sample("m", i, i, i + 0.004, "RESOURCE_EXHAUSTED") for i in range(5)]
    late = [Sample("m", i, i, i + 1.0, "DEADLINE_EXCEEDED") for i in range(3)]
    good = [Sample("m", i, i, i + 0.1, "OK") for i in range(8)]
    figures = script._figures([good, [*quick, *late, *good], good], peak=2.0, seconds=5.0, deadline=1.0)
    assert figures["goodput / peak"] == pytest.approx(8 / 5 / 2)
    assert (figures["refused"], figures["accepted and late"]) == (5, 3)
    assert figures["refusal p99 ms"] == pytest.approx(4.0, rel=0.01)
