"""Word scores from a KenLM n-gram model, for `headstock.ctc.beam_search`; needs the optional package `kenlm`."""

from __future__ import annotations

import math
from importlib import import_module
from pathlib import Path
from typing import Any

from headstock.errors import FailedPrecondition, InvalidInput


class KenlmScorer:
    """`alpha * ln P(word | words before it) + beta` from an ARPA or KenLM binary file.

    Heafield, "KenLM: faster and smaller language model queries", WMT 2011. The defaults of `alpha` and `beta` are those
    that DeepSpeech 0.9.3 was released with for its English model.
    """

    def __init__(self, path: Path, *, alpha: float = 0.931289, beta: float = 1.183414) -> None:
        """Open the model. Raises `FailedPrecondition` without `kenlm` and `InvalidInput` for what it cannot read."""
        try:
            kenlm: Any = import_module("kenlm")
        except ImportError as error:
            raise FailedPrecondition(
                "kenlm is not installed, and scoring words with an n-gram model needs it",
                fix="pip install kenlm",
            ) from error
        try:
            self._model = kenlm.Model(str(path))
        except (OSError, RuntimeError) as error:
            raise InvalidInput(f"{path.name!r} is no ARPA or KenLM binary model") from error
        self._new_state = kenlm.State
        self._alpha = alpha
        self._beta = beta

    def start(self) -> Any:
        """The state at the beginning of a sentence."""
        state = self._new_state()
        self._model.BeginSentenceWrite(state)
        return state

    def score(self, state: Any, word: str) -> tuple[Any, float]:
        """The state after `word` and the word's score; unknown words cost what the model says they cost."""
        after = self._new_state()
        log10 = self._model.BaseScore(state, word, after)
        return after, self._alpha * log10 * math.log(10) + self._beta
