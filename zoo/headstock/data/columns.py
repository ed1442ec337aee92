"""Which column plays which role: as told, else guessed from names, else from what the columns hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headstock.data.cells import is_empty
from headstock.data.files import MEDIA
from headstock.data.inputs import path_in
from headstock.data.table import Table
from headstock.errors import InvalidInput

ROW = "row"
"""The input of heads on tables: every column that plays no other role, so it is never asked for."""

# Names that people give to each role, the commonest first.
_USUAL = {
    "text": (
        "text", "sentence", "content", "body", "message", "utterance", "review", "comment", "question",
        "description", "document", "tweet", "query", "input", "tokens",
    ),
    "image": ("image", "path", "file", "file_name", "filename", "image_path", "img", "picture", "photo", "filepath"),
    "audio": (
        "audio", "path", "file", "file_name", "filename", "audio_path", "audio_filepath", "wav_filename", "wav",
        "sound", "recording", "filepath",
    ),
    "label": (
        "label", "intent", "category", "class", "target", "sentiment", "topic", "tag", "labels", "species", "y",
    ),
    "labels": ("labels", "tags", "categories", "topics", "classes", "label"),
    "target": ("target", "value", "score", "y", "rating", "price", "label"),
    "spans": ("spans", "entities", "ner_tags", "tags", "labels"),
    "transcript": ("transcript", "transcription", "text", "sentence"),
    "question": ("question", "query"),
    "context": ("context", "passage", "paragraph", "document", "text"),
    "answer": ("answer", "answers", "answer_text"),
}  # fmt: skip

_SHORT = ("text", "image", "audio", "question", "context", "label", "labels", "target")


def option_of(role: str) -> str:
    """The command-line option that sets a role's column."""
    return f"--{role}-column" if role in _SHORT else f"--column {role}="


def choose_columns(
    table: Table, roles: Sequence[str], told: Mapping[str, str], taken: Sequence[str] = ()
) -> dict[str, str]:
    """Role to column for every role but `row`; `told` wins, `taken` columns are never guessed.

    Raises `InvalidInput` when a told column does not exist or a role cannot be guessed.
    """
    chosen: dict[str, str] = {}
    roles = [role for role in roles if role != ROW]
    for role, column in told.items():
        if role not in roles:
            raise InvalidInput(
                f"this head type reads no {role} column; it needs {', '.join(roles)}",
                fix=f"leave {option_of(role)} out",
            )
        table.column(column, option_of(role))
        chosen[role] = column
    for role in roles:
        if role not in chosen:
            chosen[role] = _guess(table, role, [*chosen.values(), *taken, *_reserved(table, role, roles)])
    doubled = [c for c in chosen.values() if list(chosen.values()).count(c) > 1]
    if doubled:
        raise InvalidInput(f"column {doubled[0]!r} is asked to play two roles: {', '.join(roles)}")
    return chosen


def _reserved(table: Table, role: str, roles: Sequence[str]) -> list[str]:
    # A column that bears another role's own name is left to it; so is a usual one, unless it is as usual for this.
    mine = _USUAL.get(role, (role,))
    others = {name for r in roles if r != role for name in _USUAL.get(r, (r,)) if name == r or name not in mine}
    return [c for c in table.columns if c.lower() in others and c.lower() != role]


def _guess(table: Table, role: str, taken: Sequence[str]) -> str:
    free = [column for column in table.columns if column not in taken]
    by_name = {column.lower(): column for column in reversed(free)}
    for name in _USUAL.get(role, (role,)):
        if name in by_name:
            return by_name[name]
    fitting = [column for column in free if _fits(table, column, role)]
    if len(fitting) == 1:
        return fitting[0]
    why = f"{', '.join(map(repr, fitting))} would all fit" if fitting else "none has a usual name or fitting values"
    example = (fitting or free or list(table.columns))[0]
    option = option_of(role)
    raise InvalidInput(
        f"cannot tell which column of {table.name!r} is the {role}: it has "
        f"{', '.join(map(repr, table.columns))}, and {why}",
        fix=f"{option}{example}" if option.endswith("=") else f"{option} {example}",
    )


def _fits(table: Table, column: str, role: str) -> bool:
    values = table.columns[column]
    if role in MEDIA:
        return all(_is_media(value, role) for value in values[:20])
    present = [str(v) for v in values if not is_empty(v)]
    if not present:
        return False
    distinct = len(set(present))
    if role in ("text", "context", "question"):
        # Prose: words with spaces, hardly ever the same twice.
        spaced = sum(" " in text.strip() for text in present)
        return spaced > 0.5 * len(present) and distinct > 0.5 * len(present)
    return role == "label" and 2 <= distinct <= max(2, len(present) // 2)


def _is_media(value: object, role: str) -> bool:
    path = path_in(value)
    return isinstance(value, bytes) if path is None else path.lower().endswith(MEDIA[role])
