"""What a licence record holds: terms, triggers, flow along lineage, what may go out under what, lifecycle.

Records state facts about a licence in our own words. They hold no licence text and replace none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import cached_property
from typing import Any, Literal, get_args

from headstock.digest import Digest, digest_json
from headstock.errors import Corrupt

Trigger = Literal["use", "host", "share", "share-modified"]
"""When a condition bites: at any use, when third parties are served, when weights leave, when changed weights leave."""

Duty = Literal[
    "include-text",
    "include-notice",
    "state-changes",
    "attribution",
    "display",
    "name-prefix",
    "notice-line",
    "pass-through",
    "source-offer",
    "same-licence",
    "mark-generated",
    "no-endorsement",
    "acceptable-use",
]
"""What a condition asks for."""

Limit = Literal[
    "non-commercial",
    "research-only",
    "field-of-use",
    "scale",
    "revenue",
    "territory",
    "no-derivatives",
    "no-adaptation",
    "no-sharing",
    "remote-restriction",
    "latest-version",
]
"""What a restriction forbids or reserves."""

Flow = Literal["inherits", "own", "undefined", "forbidden", "limited", "naming"]
"""What of a parent's terms reaches a child that does not contain the parent's weights.

`naming`: duties of naming. `limited`: forbidden for those children that the record's `students` describes.
"""

Mode = Literal["any", "keep", "same", "none"]
"""Derivatives may go out: under anything; under anything that keeps these terms beside; under `to` only; not at all."""

FLOW_RELATIONS = ("distilled_from", "trained_on_outputs_of", "head_on", "adapter_of")


@dataclass(frozen=True, slots=True)
class Condition:
    """A duty with the acts that trigger it."""

    duty: Duty
    on: tuple[Trigger, ...]
    payload: str = ""
    """What to display, to prefix, to pass on..."""
    passes: bool = False
    """True if it reaches children that learned from the work too, where the flow is `naming`."""


@dataclass(frozen=True, slots=True)
class Restriction:
    """A limit with its parameters."""

    kind: Limit
    values: tuple[str, ...] = ()
    """Fields of use, territories..., or the number of monthly users, or US dollars a year, above which a separate
    licence is needed."""
    modality: str = ""
    """If set, it binds models of that modality only."""


@dataclass(frozen=True, slots=True)
class Outbound:
    """Under what a work that contains this one may be shared."""

    mode: Mode = "any"
    to: tuple[str, ...] = ()
    """For `same`: the licences accepted for the whole. For `keep`: licences that keep the terms by themselves."""
    not_to: tuple[str, ...] = ()
    """Licences whose own terms clash with these conditions."""
    unsure: tuple[str, ...] = ()
    """Licences of which it is disputed or unknown whether they fit."""


@dataclass(frozen=True, slots=True)
class Document:
    """One text of an agreement: the licence itself or a policy that it incorporates."""

    role: Literal["agreement", "acceptable-use"]
    source: str
    """Where it is published."""
    effective: str = ""
    """Date in the text's own heading, where it has one."""
    words: str = ""
    """SHA-256 of the text's words (lower-case letters and digits, single spaces), where known."""


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """How the grant can end or change."""

    irrevocable: bool | None = None
    """None where the licence does not say."""
    ends_on_breach: bool | None = None
    terms_may_change: bool = False
    expires: str = ""
    """Last day of the grant, ISO 8601; empty where it has none. Bought licences often end."""


@dataclass(frozen=True, eq=False)
class LicenceDoc:
    """One licence in one version."""

    id: str
    """SPDX id, else `LicenseRef-headstock-NAME-VERSION`."""
    name: str
    documents: tuple[Document, ...]
    conditions: tuple[Condition, ...] = ()
    restrictions: tuple[Restriction, ...] = ()
    flow: Mapping[str, Flow] = field(default_factory=dict)
    """Per relation of `FLOW_RELATIONS`; absent means `undefined`: the licence does not speak of it."""
    outbound: Outbound = Outbound()
    lifecycle: Lifecycle = Lifecycle()
    students: str = ""
    """For the flow `limited`: which children it forbids, in words that follow "to improve"."""
    complete: bool = True
    """False while not every term has been read: such a record can deny but never allow."""
    remark: str = ""

    @cached_property
    def digest(self) -> Digest:
        """Names the record's content; a proof states it, so that a changed record shows."""
        return digest_json(asdict(self))

    @classmethod
    def from_mapping(cls, value: Mapping[str, Any]) -> LicenceDoc:
        """A validated record; raises `Corrupt` that names the record and the key."""
        reader = _Reader(str(value.get("id", "?")), value)
        doc = cls(
            id=reader.text("id"),
            name=reader.text("name"),
            documents=tuple(_document(r) for r in reader.tables("documents")),
            conditions=tuple(_condition(r) for r in reader.tables("conditions")),
            restrictions=tuple(_restriction(r) for r in reader.tables("restrictions")),
            flow=_flow(reader),
            outbound=_outbound(reader),
            lifecycle=_lifecycle(reader),
            students=str(reader.take("students", "")),
            complete=bool(reader.take("complete", True)),
            remark=str(reader.take("remark", "")),
        )
        reader.finish()
        if not doc.documents:
            raise Corrupt(f"licence record {doc.id!r} names no document; expected at least where its text is published")
        if ("limited" in doc.flow.values()) is not bool(doc.students):
            raise Corrupt(f"licence record {doc.id!r}: the flow 'limited' and 'students' go together")
        return doc


class _Reader:
    """Takes keys out of a mapping and refuses what is left: a misspelt key must not silently mean nothing."""

    def __init__(self, record: str, value: Mapping[str, Any]) -> None:
        self.record = record
        self._left = dict(value)

    def take(self, key: str, default: Any = None) -> Any:
        return self._left.pop(key, default)

    def text(self, key: str) -> str:
        value = self.take(key)
        if not isinstance(value, str) or not value:
            raise Corrupt(f"licence record {self.record!r} has no {key!r}; expected text")
        return value

    def word(self, key: str, allowed: Any, default: str | None = None) -> Any:
        value = self.take(key, default)
        if value not in get_args(allowed):
            raise Corrupt(f"licence record {self.record!r}: {key} is {value!r}; expected {list(get_args(allowed))}")
        return value

    def words(self, key: str) -> tuple[str, ...]:
        value = self.take(key, [])
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise Corrupt(f"licence record {self.record!r}: {key} is {value!r}; expected a list")
        return tuple(str(item) for item in value)

    def tables(self, key: str) -> list[_Reader]:
        return [_Reader(self.record, item) for item in self.take(key, [])]

    def table(self, key: str, keys: Sequence[str]) -> dict[str, Any]:
        value = dict(self.take(key, {}))
        if unknown := sorted(set(value) - set(keys)):
            raise Corrupt(f"licence record {self.record!r}: {key} has {unknown}; expected of {list(keys)}")
        return value

    def finish(self) -> None:
        if self._left:
            raise Corrupt(f"licence record {self.record!r} has keys that mean nothing: {sorted(self._left)}")


def _document(reader: _Reader) -> Document:
    role = reader.word("role", Literal["agreement", "acceptable-use"], "agreement")
    found = Document(role, reader.text("source"), str(reader.take("effective", "")), str(reader.take("words", "")))
    reader.finish()
    return found


def _condition(reader: _Reader) -> Condition:
    triggers = reader.words("on")
    if not triggers or set(triggers) - set(get_args(Trigger)):
        raise Corrupt(f"licence record {reader.record!r}: on is {triggers}; expected of {list(get_args(Trigger))}")
    payload, passes = str(reader.take("payload", "")), bool(reader.take("passes", False))
    found = Condition(reader.word("duty", Duty), triggers, payload, passes)  # type: ignore[arg-type]
    reader.finish()
    return found


def _restriction(reader: _Reader) -> Restriction:
    found = Restriction(reader.word("kind", Limit), reader.words("values"), str(reader.take("modality", "")))
    if found.kind in ("scale", "revenue") and not (len(found.values) == 1 and found.values[0].isdigit()):
        raise Corrupt(f"licence record {reader.record!r}: a {found.kind} has one number; found {found.values}")
    reader.finish()
    return found


def _lifecycle(reader: _Reader) -> Lifecycle:
    value = reader.table("lifecycle", ("irrevocable", "ends_on_breach", "terms_may_change", "expires"))
    expires = value.get("expires", "")
    try:
        # TOML has dates of its own, and people quote them too.
        day = date.fromisoformat(str(expires)).isoformat() if expires else ""
    except ValueError as error:
        raise Corrupt(f"licence record {reader.record!r}: expires is {expires!r}; expected 2027-12-31") from error
    return Lifecycle(**{**value, "expires": day})


def _flow(reader: _Reader) -> dict[str, Flow]:
    flow = reader.table("flow", FLOW_RELATIONS)
    for relation, value in flow.items():
        if value not in get_args(Flow):
            raise Corrupt(
                f"licence record {reader.record!r}: flow of {relation} is {value!r}; expected {get_args(Flow)}"
            )
        if value == "forbidden" and relation in ("head_on", "adapter_of"):
            raise Corrupt(
                f"licence record {reader.record!r}: nothing can forbid {relation}; say no-derivatives instead"
            )
    return flow


def _outbound(reader: _Reader) -> Outbound:
    value = reader.table("outbound", ("mode", "to", "not_to", "unsure"))
    inner = _Reader(reader.record, value)
    return Outbound(inner.word("mode", Mode, "any"), inner.words("to"), inner.words("not_to"), inner.words("unsure"))
