"""The head bank: stacked heads, hot changes, and bits that do not depend on the neighbours."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from headstock.errors import InvalidInput
from headstock_server.engine import HeadBank


def _bank(width: int, out: int, heads: int) -> tuple[HeadBank, list[tuple[np.ndarray, np.ndarray]], list[int]]:
    random = np.random.default_rng(3)
    made = [
        (
            random.standard_normal((width, out)).astype(np.float32),
            random.standard_normal(out).astype(np.float32),
        )
        for _ in range(heads)
    ]
    bank = HeadBank("mean", width, out)
    return bank, made, [bank.add(weight, bias) for weight, bias in made]


@pytest.mark.parametrize("width, out", [(16, 2), (384, 3), (384, 12), (384, 77), (768, 5)])
def test_a_row_is_bit_equal_alone_and_in_every_batch_and_slot(width: int, out: int) -> None:
    """Covers both ways of computing: gathered for small heads, per head for wide ones, and the one-head case."""
    bank, _, slots = _bank(width, out, 9)
    random = np.random.default_rng(5)
    features = random.standard_normal((64, width)).astype(np.float32)
    which = random.choice(slots, 64)
    alone = [bank.run(features[i : i + 1], which[i : i + 1])[0] for i in range(64)]
    for n in range(1, 65):
        order = random.permutation(64)[:n]
        together = bank.run(features[order], which[order])
        for row, i in enumerate(order):
            assert together[row].tobytes() == alone[i].tobytes()
        same = np.full(n, which[0])
        uniform = bank.run(features[order], same)
        assert uniform[-1].tobytes() == bank.run(features[order[-1:]], same[-1:])[0].tobytes()


def test_each_row_goes_through_its_own_head() -> None:
    bank, made, slots = _bank(16, 4, 5)
    features = np.random.default_rng(1).standard_normal((5, 16)).astype(np.float32)
    outputs = bank.run(features, np.array(slots))
    for i, (weight, bias) in enumerate(made):
        np.testing.assert_allclose(outputs[i], features[i] @ weight + bias, rtol=1e-5, atol=1e-5)


def test_a_neighbour_that_is_not_finite_stays_in_its_row() -> None:
    bank, _, slots = _bank(16, 4, 2)
    features = np.ones((3, 16), np.float32)
    clean = bank.run(features, np.array([slots[0]] * 3))
    features[1] = np.nan
    dirty = bank.run(features, np.array([slots[0]] * 3))
    assert dirty[[0, 2]].tobytes() == clean[[0, 2]].tobytes()
    assert np.isnan(dirty[1]).all()


def test_capacity_doubles_and_older_heads_keep_their_answers() -> None:
    bank = HeadBank("mean", 8, 2)
    features = np.ones((1, 8), np.float32)
    first = bank.add(np.full((8, 2), 0.5, np.float32), np.zeros(2, np.float32))
    before = bank.run(features, np.array([first]))
    for i in range(20):
        bank.add(np.full((8, 2), float(i), np.float32), np.zeros(2, np.float32))
    assert bank.run(features, np.array([first])).tobytes() == before.tobytes()
    assert len(bank) == 21
    assert bank.capacity == 32


def test_a_released_slot_is_used_again_so_that_swaps_do_not_grow_the_bank() -> None:
    bank = HeadBank("mean", 8, 2)
    weight, bias = np.zeros((8, 2), np.float32), np.zeros(2, np.float32)
    bank.add(weight, bias)
    for _ in range(1000):
        bank.release(bank.add(weight, bias))
    assert len(bank) == 1
    assert bank.capacity == 2


def test_a_head_of_another_shape_is_refused_with_both_shapes() -> None:
    bank = HeadBank("mean", 8, 2)
    with pytest.raises(InvalidInput, match=r"\[8, 3\].*expected \[8, 2\]"):
        bank.add(np.zeros((8, 3), np.float32), np.zeros(3, np.float32))


def test_adding_heads_never_disturbs_a_running_batch() -> None:
    bank, _, slots = _bank(64, 8, 3)
    features = np.random.default_rng(2).standard_normal((16, 64)).astype(np.float32)
    which = np.array([slots[i % 3] for i in range(16)])
    expected = bank.run(features, which).tobytes()
    stop = threading.Event()

    def churn() -> None:
        weight, bias = np.ones((64, 8), np.float32), np.ones(8, np.float32)
        while not stop.is_set():
            added = [bank.add(weight, bias) for _ in range(30)]
            for slot in added:
                bank.release(slot)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        assert all(bank.run(features, which).tobytes() == expected for _ in range(500))
    finally:
        stop.set()
        thread.join()
