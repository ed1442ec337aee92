"""DeepSpeech's `alphabet.txt`: the text of each label, one per line."""

from __future__ import annotations

from pathlib import Path

from headstock.errors import InvalidInput

MAX_LABELS = 100_000


def read_alphabet(path: Path) -> list[str]:
    """Labels in index order; the blank follows behind the last. Raises `InvalidInput`."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path.name!r} is not UTF-8: {error.reason}") from error
    # `#` begins a comment, so that label is written with a backslash; a line of one space is the label for it.
    labels = [line[1:] if line.startswith("\\#") else line for line in lines if line and not line.startswith("#")]
    return check_alphabet([label.removesuffix("\r") for label in labels], repr(path.name))


def check_alphabet(labels: object, what: str) -> list[str]:
    """`labels` as a list of different texts, none empty. Raises `InvalidInput` that begins with `what`."""
    if not isinstance(labels, list) or not all(isinstance(label, str) and label for label in labels):
        raise InvalidInput(f"{what} holds no alphabet; expected a list of texts")
    if not 1 <= len(labels) <= MAX_LABELS:
        raise InvalidInput(f"{what} has {len(labels)} labels; expected 1 to {MAX_LABELS}")
    twice = sorted({label for label in labels if labels.count(label) > 1}) if len(labels) < 1000 else []
    if twice:
        raise InvalidInput(f"{what} has the label {twice[0]!r} twice")
    return labels
