"""Which column plays which role: as told, else guessed from names, else from what the columns hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headstock.errors import InvalidInput
from headstock.finetune.data import Table

# Names that people give to each role, the commonest first.
_USUAL = {
    "text": (
        "text", "sentence", "content", "body", "message", "utterance", "review", "comment", "question",
        "description", "document", "tweet", "query", "input",
    ),
    "label": ("label", "labels", "intent", "category", "class", "target", "sentiment", "topic", "tag", "y"),
}  # fmt: skip


def option_of(role: str) -> str:
    """The command-line option that sets a role's column."""
    return f"--{role}-column"


def choose_columns(
    table: Table, roles: Sequence[str], told: Mapping[str, str], taken: Sequence[str] = ()
) -> dict[str, str]:
    """Role to column for every role; `told` wins, `taken` columns are never guessed.

    Raises `InvalidInput` when a told column does not exist or a role cannot be guessed.
    """
    chosen: dict[str, str] = {}
    for role, column in told.items():
        table.column(column, option_of(role))
        if role not in roles:
            raise InvalidInput(f"this head type has no use for a {role} column; it needs {', '.join(roles)}")
        chosen[role] = column
    for role in roles:
        if role not in chosen:
            chosen[role] = _guess(table, role, [*chosen.values(), *taken, *_reserved(table, role, roles)])
    doubled = [c for c in chosen.values() if list(chosen.values()).count(c) > 1]
    if doubled:
        raise InvalidInput(f"column {doubled[0]!r} is asked to play two roles: {', '.join(roles)}")
    return chosen


def _reserved(table: Table, role: str, roles: Sequence[str]) -> list[str]:
    # A column that bears another role's usual name is left to that role.
    others = [r for r in roles if r != role]
    return [c for c in table.columns if any(c.lower() in _USUAL.get(r, (r,)) for r in others)]


def _guess(table: Table, role: str, taken: Sequence[str]) -> str:
    free = [column for column in table.columns if column not in taken]
    by_name = {column.lower(): column for column in reversed(free)}
    for name in _USUAL.get(role, (role,)):
        if name in by_name:
            return by_name[name]
    fitting = [column for column in free if _fits(table.columns[column], role)]
    if len(fitting) == 1:
        return fitting[0]
    why = f"{', '.join(map(repr, fitting))} would all fit" if fitting else "none has a usual name or fitting values"
    example = (fitting or free or list(table.columns))[0]
    raise InvalidInput(
        f"cannot tell which column of {table.name!r} is the {role}: it has "
        f"{', '.join(map(repr, table.columns))}, and {why}",
        fix=f"{option_of(role)} {example}",
    )


def _fits(values: Sequence[object], role: str) -> bool:
    present = [str(v) for v in values if v not in (None, "")]
    if not present:
        return False
    distinct = len(set(present))
    if role == "text":
        # Prose: words with spaces, hardly ever the same twice.
        spaced = sum(" " in text.strip() for text in present)
        return spaced > 0.5 * len(present) and distinct > 0.5 * len(present)
    return 2 <= distinct <= max(2, len(present) // 2)
