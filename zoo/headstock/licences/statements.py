"""What the sources of one artefact declare, read together: readings, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headstock.evidence import Evidence
from headstock.licences.aliases import NOASSERTION, Resolution, base, resolve

SIMILARITY = "similarity"
"""Kind of source of a remark about a licence text that is no known one word for word: which it is most like."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about the evidence or the lineage that a person should look at."""

    kind: str
    """`conflict`, `text-differs`, `ambiguous`, `unknown-licence`, `relicensed`, `training-data`..."""
    message: str
    warn: bool = True
    """False for a remark that needs no decision."""


@dataclass(frozen=True, slots=True)
class Declared:
    """All statements about one artefact, understood as far as they can be."""

    readings: tuple[Resolution, ...]
    """Distinct meanings, in a stable order; more than one is a conflict. Empty: no source says anything."""
    findings: tuple[Finding, ...] = ()

    @property
    def text(self) -> str:
        """For people and documents: the expression, `NOASSERTION`, or the alternatives that conflict."""
        said = sorted({str(r.expression) for r in self.readings if r.expression is not None})
        return " / ".join(said) if said else NOASSERTION


def declared(statements: Iterable[Evidence]) -> Declared:
    """Read the licence statements of one artefact together. The order of the statements does not matter."""
    said: dict[str, tuple[Resolution, list[str]]] = {}
    unread: list[Evidence] = []
    alike: set[str] = set()
    for statement in statements:
        if statement.field != "licence":
            continue
        if statement.source == SIMILARITY:
            alike.add(statement.raw)
            continue
        meaning = _meaning(statement)
        if meaning.kind == "unknown" and statement.source == "licence-file":
            unread.append(statement)
        elif meaning.kind != "unstated":
            said.setdefault(_key(meaning), (meaning, []))[1].append(statement.source)
    kept = {key: value for key, value in sorted(said.items()) if not _refined(value[0], said.values())}
    readings = [meaning for meaning, _ in kept.values()]
    findings = [_finding(meaning) for meaning in readings if meaning.kind != "licence"]
    if len(readings) > 1:
        voices = " but ".join(f"{_words(m)} ({', '.join(sorted(set(by)))})" for m, by in kept.values())
        findings.insert(0, Finding("conflict", f"sources declare {voices}"))
    doubt = _unread(unread, readings, sorted(alike))
    return Declared((*readings, *doubt[0]), (*findings, *doubt[1]))


def _meaning(statement: Evidence) -> Resolution:
    if statement.value != NOASSERTION:
        return resolve(statement.value)
    raw = statement.raw.strip()
    if statement.source == "licence-file":
        return Resolution("unknown", why=f"a licence text that begins {raw[:60]!r}") if raw else Resolution("unstated")
    # "other; license_name: llama3.2; license_link: ..." as cards are kept.
    head, *fields = [
        part.strip() for part in raw.removeprefix("License-Expression:").removeprefix("License:").split(";")
    ]
    named = next((f.partition(":")[2].strip() for f in fields if f.startswith("license_name:")), "")
    meaning = _listed(head)
    return resolve(named) if meaning.kind == "unstated" and named else meaning


def _listed(text: str) -> Resolution:
    """A list of licences says neither "and" nor "or": it may mean any of them."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    meanings = [resolve(part) for part in parts]
    if len(meanings) < 2:
        return meanings[0] if meanings else Resolution("unstated")
    licences = sorted(str(m.expression) for m in meanings if m.expression is not None)
    closed = len(licences) == len(meanings)
    why = "several are listed, neither joined by and nor by or"
    return Resolution("ambiguous", None, tuple(licences), closed, why=why)


def _key(meaning: Resolution) -> str:
    return f"{meaning.kind} {meaning.expression or ''} {meaning.candidates} {meaning.why}"


def _refined(meaning: Resolution, others: Iterable[tuple[Resolution, Sequence[str]]]) -> bool:
    """True for a family, or a choice of licences, beside a source that says which one it is."""
    definite = {str(other.expression) for other, _ in others if other.expression is not None}
    if meaning.expression is not None and meaning.expression.op == "or":
        return bool(definite & {str(part) for part in meaning.expression.parts})
    return meaning.kind == "ambiguous" and bool(definite & set(meaning.candidates))


def _words(meaning: Resolution) -> str:
    if meaning.expression is not None:
        return str(meaning.expression)
    return f"one of {', '.join(meaning.candidates)}" if meaning.candidates else meaning.why


def _finding(meaning: Resolution) -> Finding:
    if meaning.kind == "ambiguous":
        return Finding("ambiguous", f"a source names a family, {_words(meaning)}: {meaning.why}")
    return Finding("unknown-licence", meaning.why)


def _unread(
    texts: Sequence[Evidence], readings: Sequence[Resolution], alike: Sequence[str]
) -> tuple[list[Resolution], list[Finding]]:
    """What a licence text that is none word for word means beside what the other sources say.

    However alike it is to a known one, it is another: one clause makes CC-BY of CC-BY-NC, 98 % alike.
    """
    if not texts:
        return [], []
    words = "; ".join([*sorted({_meaning(text).why for text in texts}), *(f"its words are {one}" for one in alike)])
    # Imported here because few artefacts have a text that nobody knows.
    from headstock.licences import texts as known_texts

    named = sorted({licence for r in readings if r.expression for licence in r.expression.licences()})
    comparable = [licence for licence in named if known_texts.is_known(base(licence))]
    unknown = Resolution("unknown", why=words)
    if comparable or (named and alike):
        message = f"{words}; it is not the text of {', '.join(comparable or named)}, which another source declares"
        return [unknown], [Finding("text-differs", message)]
    if named:
        why = f"{words} was not compared with {', '.join(named)}: the record does not know its text"
        return [], [Finding("text-not-compared", why)]
    return [unknown], [Finding("unknown-licence", f"{words} is not known")]
