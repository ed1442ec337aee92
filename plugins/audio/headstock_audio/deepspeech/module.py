"""The DeepSpeech network with named taps: three dense layers, one LSTM forward in time, two dense layers.

Hannun et al., "Deep Speech: scaling up end-to-end speech recognition", arXiv:1412.5567, as Mozilla simplified it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from headstock_audio.stable import frame_mask, masked_mean


class DeepSpeechBackbone(torch.nn.Module):
    """DeepSpeech on cepstral frames; `forward` returns its taps by name.

    The context of the first and last frames is zeros, and time runs forward only, so padding on the right is exact.
    """

    def __init__(self, architecture: Mapping[str, Any]) -> None:
        super().__init__()
        hidden: int = architecture["hidden_size"]
        self.coefficients: int = architecture["coefficients"]
        self.context: int = architecture["context"]
        self.clip: float = architecture["relu_clip"]
        self.width = hidden
        self.labels: int = architecture["labels"]
        self.dense1 = torch.nn.Linear(self.coefficients * (2 * self.context + 1), hidden)
        self.dense2 = torch.nn.Linear(hidden, hidden)
        self.dense3 = torch.nn.Linear(hidden, hidden)
        self.lstm = torch.nn.LSTM(hidden, hidden, batch_first=True)
        self.dense5 = torch.nn.Linear(hidden, hidden)
        self.output = torch.nn.Linear(hidden, self.labels + 1)

    def forward(self, features: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """Taps of FP32 [n, t, coefficients] and INT64 [n, t]: `frames` [n, t, d] (behind the fifth layer), `mean`
        [n, d] (over real frames), `logits` [n, t, labels + 1] (the blank last); zeros behind a row's end."""
        mask = frame_mask(attention_mask.sum(dim=1), features, 1)
        inside = mask[:, :, None]
        features = torch.where(inside, features, torch.zeros_like(features))
        padded = torch.nn.functional.pad(features, (0, 0, self.context, self.context))
        recurrent, _ = self.lstm(self._dense(padded))
        frames = self._activated(self.dense5(recurrent))
        logits = self.output(frames)
        frames = torch.where(inside, frames, torch.zeros_like(frames))
        logits = torch.where(inside, logits, torch.zeros_like(logits))
        return {"frames": frames, "mean": masked_mean(frames, mask), "logits": logits}

    def forward_stream(
        self, features: torch.Tensor, c: torch.Tensor, h: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """One stretch of a longer recording: logits [n, t, labels + 1] and the states behind it.

        `features` is [n, context + t + context, coefficients]: the t frames with their neighbours on both sides, zeros
        where the recording begins or ends. `c` and `h` are [n, d]: zeros at first, then what the last call returned.
        """
        return self.forward_windows(self._windows(features), c, h)

    def forward_windows(
        self, windows: torch.Tensor, c: torch.Tensor, h: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same of frames [n, t, (2 * context + 1) * coefficients] that hold their neighbours already."""
        recurrent, (h, c) = self.lstm(self._layers(windows), (h[None], c[None]))
        return self.output(self._activated(self.dense5(recurrent))), c[0], h[0]

    def _dense(self, padded: torch.Tensor) -> torch.Tensor:
        """Layers 1 to 3 on every frame with its context."""
        return self._layers(self._windows(padded))

    def _windows(self, padded: torch.Tensor) -> torch.Tensor:
        count = 2 * self.context + 1
        length = padded.shape[1] - count + 1
        return torch.cat([padded[:, i : i + length] for i in range(count)], dim=2)

    def _layers(self, windows: torch.Tensor) -> torch.Tensor:
        hidden = self._activated(self.dense1(windows))
        hidden = self._activated(self.dense2(hidden))
        return self._activated(self.dense3(hidden))

    def _activated(self, values: torch.Tensor) -> torch.Tensor:
        return torch.clamp(values, 0.0, self.clip)
