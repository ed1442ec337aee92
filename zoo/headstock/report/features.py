"""Plain features of raw inputs, as the classical baselines of each modality see them."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headstock.data.cells import is_empty

Floats = npt.NDArray[np.float64]

_SIDE = 16
_WINDOW, _BANDS = 512, 32


def pixels(images: Sequence[bytes]) -> Floats:
    """Encoded images as [n, 768]: 16 x 16 RGB values from 0 to 1."""
    from PIL import Image

    rows = []
    for data in images:
        with Image.open(io.BytesIO(data)) as image:
            small = image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
            rows.append(np.asarray(small, np.float64).ravel() / 255)
    return np.array(rows)


def spectra(recordings: Sequence[bytes]) -> Floats:
    """Encoded recordings as [n, 64]: mean and deviation over time of the log power in 32 bands."""
    import soundfile

    rows = []
    for data in recordings:
        sound, _ = soundfile.read(io.BytesIO(data), dtype="float64", always_2d=True)
        mono = sound.mean(axis=1)
        mono = np.pad(mono, (0, max(0, _WINDOW - len(mono))))
        frames = np.lib.stride_tricks.sliding_window_view(mono, _WINDOW)[:: _WINDOW // 2] * np.hanning(_WINDOW)
        power = np.abs(np.fft.rfft(frames, axis=1)[:, 1:]) ** 2
        bands = np.log(power.reshape(len(frames), _BANDS, -1).mean(axis=2) + 1e-10)
        rows.append(np.concatenate([bands.mean(axis=0), bands.std(axis=0)]))
    return np.array(rows)


def cells(train: Sequence[str], validation: Sequence[str]) -> tuple[Floats, Floats]:
    """JSON rows as numbers: numeric cells as they are, others by the order of the training rows' values, else NaN.

    Columns that the training rows leave empty are left out.
    """
    read = [[json.loads(row) for row in part] for part in (train, validation)]
    columns = sorted({name for row in read[0] for name in row})
    codes: dict[str, dict[str, int]] = {name: {} for name in columns}
    for row in read[0]:
        for name in columns:
            value = row.get(name)
            # A gap in a column of numbers is a missing number, not a category that makes one of them all.
            if not is_empty(value) and _number(value) is None:
                codes[name].setdefault(str(value), len(codes[name]))
    first, second = (
        np.array([[_cell(row.get(name), codes[name]) for name in columns] for row in part], np.float64).reshape(
            len(part), len(columns)
        )
        for part in read
    )
    filled = ~np.isnan(first).all(axis=0)
    return first[:, filled], second[:, filled]


def _cell(value: Any, codes: dict[str, int]) -> float:
    if is_empty(value):
        return float("nan")
    number = _number(value) if not codes else None
    return number if number is not None else float(codes.get(str(value), float("nan")))


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
