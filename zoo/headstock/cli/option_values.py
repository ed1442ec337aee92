"""Values of options that click has no type for, checked the same way by every command."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click
from click.core import ParameterSource

from headstock.errors import InvalidInput


def pair(option: str, text: str) -> tuple[str, str]:
    """Key and value of `KEY=VALUE`; raises `InvalidInput`."""
    key, equals, value = (part.strip() for part in text.partition("="))
    if not (key and equals):
        raise InvalidInput(f"{option} {text!r} is not KEY=VALUE", fix=f"{option} {key or 'KEY'}=VALUE")
    return key, value


def positive(
    option: str, value: float, *, instead: float, zero: bool = False, most: float = sys.float_info.max
) -> float:
    """The value if it is finite, above 0 (or 0 with `zero`) and at most `most`; `InvalidInput` proposes `instead`."""
    if not (value > 0 or (zero and value == 0)) or value > most:
        lower = f"a {'number of at least' if zero else 'number above'} 0"
        expected = lower + (f" and at most {most:g}" if most < 1e9 else "")
        raise InvalidInput(f"{option} {value:g} is not usable; expected {expected}", fix=f"{option} {instead:g}")
    return value


def given(context: click.Context, parameters: Sequence[str]) -> list[str]:
    """Those of the parameters that stand on the command line, as they are typed: `--batch-size`."""
    typed = {p.name: p.opts[0] for p in context.command.params}
    said = [p for p in parameters if context.get_parameter_source(p) is ParameterSource.COMMANDLINE]
    return [typed.get(p, p) for p in said]
