"""A proof as an indented tree for people; text only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headstock.licences.proof import reasons

_DEEPEST = 12
"""Levels that are indented; deeper ones stay at that margin."""


def tree(proof: Mapping[str, Any]) -> str:
    """One line per artefact under what it is part of, with its licence, and lines below for what stands against it.

    What sources speak of (`[weights]`) stands behind the licence; code that is no part of the verdict comes last.
    """
    nodes = list(proof["of"])
    below: dict[str, list[Mapping[str, Any]]] = {}
    for node in nodes:
        below.setdefault(str(node.get("child", "whole")), []).append(node)
    lines: list[str] = []
    waiting = [(node, 0) for node in reversed(below.get("", []))]
    shown: set[str] = set()
    while waiting:
        node, depth = waiting.pop()
        lines += _lines(node, "  " * min(depth, _DEEPEST))
        if node["digest"] not in shown:
            shown.add(node["digest"])
            waiting += [(child, depth + 1) for child in reversed(below.get(node["digest"], []))]
    lines += [line for node in below.get("whole", []) for line in _lines(node, "")]
    for node in proof.get("code", ()):
        lines += _lines({**node, "relation": "beside the verdict, the code of"}, "")
    return "\n".join(lines)


def _lines(node: Mapping[str, Any], indent: str) -> Iterator[str]:
    relation = f"{node['relation']} " if node.get("relation") else ""
    covers = f" [{', '.join(node['covers'])}]" if "covers" in node else ""
    yield f"{node['value']:<8} {indent}{relation}{node['about']}: {terms(node)}{covers}"
    for reason in reasons(node):
        yield f"{'':<8} {indent}  because {reason}"
    if "concluded" in node:
        yield f"{'':<8} {indent}  concluded {node['concluded']}"


def terms(node: Mapping[str, Any]) -> str:
    """What a node is about in a few words: `MIT`, `Apache-2.0 or MIT`, `no source states a licence`."""
    match node["op"]:
        case "terms":
            marks = [f"only {node['scope']}"] if "scope" in node else []
            marks += [f"along {', '.join(node['via'])}"] if "via" in node else []
            return f"{node['licence']} ({'; '.join(marks)})" if marks else str(node["licence"])
        case "fact":
            return "; ".join(node["why"])
        case "sharing":
            named = " or ".join(node["outbound"]) or "no licence"
            may = "any licence that keeps the notices" if node.get("free") else named
            return f"{' with '.join(node['of_licences'])} may go out under {may}"
    word = {"all": " and ", "any": " or ", "agree": " / "}[node["op"]]
    return word.join(terms(part) for part in node["of"])
