"""Directions known beforehand on real digits: what gradual unfreezing and a first probe are good for."""

from __future__ import annotations

import numpy as np

from headstock.testing.parity import accuracies

STRATEGIES = ("scratch", "feature-extraction", "full", "lp-ft", "gradual")


def test_with_20_labels_gradual_unfreezing_beats_fine_tuning_and_lp_ft_keeps_what_the_probe_has() -> None:
    """A quick form of benchmarks/transfer_digits.py: clean rows first, then the same rotated and noisy."""
    runs = [accuracies(seed, STRATEGIES) for seed in range(3)]
    mean = {name: np.mean([run[name] for run in runs], axis=0) for name in STRATEGIES}
    for place in (0, 1):
        assert mean["gradual"][place] > mean["full"][place] > mean["scratch"][place], mean
        assert mean["lp-ft"][place] > mean["full"][place], mean
    assert mean["lp-ft"][0] >= mean["feature-extraction"][0], mean
