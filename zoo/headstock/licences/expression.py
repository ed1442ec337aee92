"""Licence expressions as small trees of AND, OR and ids; parsed by license-expression, simple ids without it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from headstock.errors import InvalidInput

_SIMPLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")


@dataclass(frozen=True, slots=True)
class Expression:
    """`licence` alone, or `and`/`or` of parts. `WITH` stays in the id: `GPL-2.0-only WITH Classpath-exception-2.0`."""

    op: Literal["licence", "and", "or"]
    licence: str = ""
    parts: tuple[Expression, ...] = ()

    def __str__(self) -> str:
        if self.op == "licence":
            return self.licence
        inner = (f"({part})" if part.op != "licence" else str(part) for part in self.parts)
        return f" {self.op.upper()} ".join(inner)

    def licences(self) -> tuple[str, ...]:
        """Every id in it, sorted."""
        if self.op == "licence":
            return (self.licence,)
        return tuple(sorted({name for part in self.parts for name in part.licences()}))


@lru_cache(maxsize=4096)
def parse(text: str) -> Expression:
    """The tree of an expression, parts sorted; raises `InvalidInput` for what is no expression.

    Any id is accepted here: whether there is a record of it is another question.
    """
    plain = " ".join(text.split())
    if _SIMPLE.fullmatch(plain) and plain.upper() not in ("AND", "OR", "WITH"):
        return Expression("licence", plain)
    from license_expression import ExpressionError, get_spdx_licensing

    try:
        tree = get_spdx_licensing().parse(plain)
    except (ExpressionError, TypeError, ValueError) as error:
        raise InvalidInput(
            f"{plain[:80]!r} is not a licence expression: {str(error).partition(chr(10))[0] or 'not understood'}",
            fix="write SPDX ids joined by AND, OR and WITH, e.g. 'Apache-2.0 OR MIT'",
        ) from error
    if tree is None:
        raise InvalidInput("an empty text is not a licence expression", fix="write an SPDX id such as Apache-2.0")
    return _convert(tree)


def _convert(tree: Any) -> Expression:
    name = type(tree).__name__
    if name in ("AND", "OR"):
        op: Literal["and", "or"] = "and" if name == "AND" else "or"
        parts = sorted({_convert(part) for part in tree.args}, key=str)
        return parts[0] if len(parts) == 1 else Expression(op, parts=tuple(parts))
    # `key` of an exception symbol reads "GPL-2.0-only WITH Classpath-exception-2.0".
    return Expression("licence", str(tree.render("{symbol.key}")))
