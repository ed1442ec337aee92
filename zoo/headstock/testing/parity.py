"""A known transfer: digits of ten classes upstream, their parity from a handful of labels, by any strategy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from headstock.finetune.strategy import Pace
from headstock.testing.nets import adapt, pretrain

PACE = Pace(epochs=100, backbone_epochs=40, learning_rate=3e-3, backbone_rate=1e-3)
LABELS, SIZES = 20, (64, 64, 64, 32)
_UPSTREAM, _UNSEEN = 700, 600


def accuracies(seed: int, strategies: Sequence[str], labels: int = LABELS) -> dict[str, tuple[float, float]]:
    """Per cent right of every strategy on 600 unseen digits: as they are, and rotated and noisy.

    Equal seeds give equal draws and equal upstream networks, so strategies compare seed by seed.
    """
    from scipy.ndimage import rotate
    from sklearn.datasets import load_digits

    dice, data = np.random.default_rng(seed), load_digits()
    images, digits = (data.images / 16).astype(np.float32), data.target.astype(np.int64)
    order = dice.permutation(len(images))
    upstream, rest = order[:_UPSTREAM], order[_UPSTREAM:]
    few, unseen = rest[:labels], rest[labels : labels + _UNSEEN]
    flat: npt.NDArray[np.float32] = images.reshape(-1, 64)
    known = pretrain(SIZES, flat[upstream], digits[upstream], 60, seed)
    turned = rotate(images[unseen], 20, axes=(2, 1), reshape=False, order=1)
    moved = (turned + dice.normal(0, 0.15, turned.shape)).reshape(-1, 64).astype(np.float32)
    found = {}
    for strategy in strategies:
        answers = adapt(known, flat[few], digits[few] % 2, strategy, PACE, seed)
        right = [100 * float((answers(rows) == digits[unseen] % 2).mean()) for rows in (flat[unseen], moved)]
        found[strategy] = (right[0], right[1])
    return found
