"""Licences: records of terms, what the catalogue's lineage makes of them in a use context, and the proof.

Nothing here is legal advice: a verdict says what the reviewed records, the evidence and the policy's stances imply.
Names are imported when first used, because a listing reads only remembered values (`headstock.licences.column`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headstock.licences.composition import Verdict
    from headstock.licences.context import Context
    from headstock.licences.gate import verdict, verdicts
    from headstock.licences.policy import Policy

__all__ = ["Context", "Policy", "Verdict", "verdict", "verdicts"]

_HOMES = {
    "Context": "context",
    "Policy": "policy",
    "Verdict": "composition",
    "verdict": "gate",
    "verdicts": "gate",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"headstock.licences.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
