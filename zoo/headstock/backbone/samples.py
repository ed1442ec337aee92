"""Real inputs that every new backbone is tried on, by kind of preprocessing."""

from __future__ import annotations

from dataclasses import dataclass

from headstock.errors import Unsupported
from headstock.preprocess import Preprocessor, Row

_SENTENCES = (
    "Yes.",
    "Where is my parcel?",
    "The cat sat on the mat, and nobody minded.",
    "Interest rates were left unchanged on Thursday; the bank cited falling energy prices.",
    "Für den Zug nach Köln gilt das Ticket nicht, sagte die Schaffnerin.",
    "def add(a, b):\n    return a + b",
    "I ordered two lamps in March (order 4417-B). One came broken, the other in the wrong colour; I would like a "
    "refund for the first and an exchange for the second, please, before the end of the month.",
    "電池が切れました。どうすればいいですか。",
    "AAAAAAAA!!! ??? ... :-) 1234567890 9.99 EUR",
)
_REPEATED = ("the the the the the the the the the the the the", "! ! ! ! ! ! ! ! ! ! ! ! ! ! ! ! ! ! ! ! ! ! ! !")
# Characters that fill any maximum of a text backbone: 4,000 tokens and more.
_ENOUGH = 40_000


@dataclass(frozen=True, slots=True)
class Samples:
    """Rows to try a backbone on; at least ten `ordinary` ones and one `longest`."""

    ordinary: tuple[Row, ...]
    """Usual inputs of many sizes: prose, code and a single token; pictures; voices."""
    longest: tuple[Row, ...]
    """Hostile company: rows that fill the declared maximum, one token repeated, black and white, full-scale noise."""


def samples_for(preprocessor: Preprocessor) -> Samples:
    """Samples for this kind of preprocessing. Raises `Unsupported` where there are none."""
    kind = preprocessor.spec.kind
    if kind == "text":
        return _texts(preprocessor)
    if kind == "table":
        return _table(preprocessor)
    if kind == "image":
        from headstock.preprocess.image_samples import hostile, samples
    elif kind in ("waveform", "mfcc"):
        from headstock.preprocess.audio_samples import hostile, samples
    else:
        raise Unsupported(f"there are no sample inputs for preprocessing kind {kind!r}")
    return Samples(tuple(preprocessor.rows(samples())), tuple(preprocessor.rows(hostile())))


def _table(preprocessor: Preprocessor) -> Samples:
    from headstock.preprocess.table_options import TableOptions
    from headstock.preprocess.table_samples import hostile, samples

    options = TableOptions.parse(preprocessor.spec.options)
    return Samples(tuple(preprocessor.rows(samples(options))), tuple(preprocessor.rows(hostile(options))))


def _texts(preprocessor: Preprocessor) -> Samples:
    rows = preprocessor.rows([*_SENTENCES, *_REPEATED])
    first = {name: tensor[None, :1] for name, tensor in rows[0].tensors.items()}
    longest = preprocessor.rows([(" ".join(_SENTENCES) * 100)[:_ENOUGH], ("same " * _ENOUGH)[:_ENOUGH]])
    return Samples((*rows, *preprocessor.rows_from_tensors(first)), tuple(longest))
