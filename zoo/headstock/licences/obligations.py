"""What duties come to for whoever serves or shows a model: words to display, policies to link to."""

from __future__ import annotations

from collections.abc import Iterable

from headstock.licences.judge import Duty


def display(duties: Iterable[Duty]) -> tuple[str, ...]:
    """Words that have to be shown (`Built with Llama`), each once, sorted."""
    return tuple(sorted({d.payload for d in duties if d.duty == "display" and d.payload}))


def acceptable_use(duties: Iterable[Duty]) -> tuple[str, ...]:
    """Where the policies stand that users have to keep to, each once, sorted."""
    return tuple(sorted({d.payload for d in duties if d.duty == "acceptable-use" and d.payload}))
