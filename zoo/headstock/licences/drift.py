"""Drift: what a source says today about its licence against what it said when the backbone was pulled."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from headstock.digest import Digest
from headstock.errors import FailedPrecondition, HeadstockError, NotFound
from headstock.licences.aliases import NOASSERTION
from headstock.licences.composition import judge
from headstock.licences.context import Context
from headstock.licences.decisions import conclude
from headstock.licences.facts import Conclusion, Facts
from headstock.licences.gate import read_facts
from headstock.licences.policy import Policy
from headstock.licences.statements import Declared, declared
from headstock.licences.values import rank
from headstock.records import Evidence, Version
from headstock.sources.now import Now, folder_now, hub_now

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue

_USES = tuple(
    Context(purpose=purpose, audience="public", act=act)
    for purpose in ("research", "internal", "commercial")
    for act in ("serve", "distribute")
)
"""Uses by which an old and a new licence are compared."""

_VOICES = ("hub-tag", "card", "licence-file")
"""Kinds of source that can be asked again without fetching weights."""

_TEXTS = {
    "licence": "LICENSE text",
    "model-licence": "model licence text",
    "notice": "NOTICE text",
    "use-policy": "use policy text",
}


@dataclass(frozen=True, slots=True)
class Drift:
    """One pulled version against its source of today."""

    version: str
    repository: str
    direction: str
    """`same`, `better`, `worse`, `changed`, `gone` (the source, or only words of it), or `unreachable`."""
    pinned: str
    now: str
    commit: str
    """Commit of the repository's default branch today; empty for a folder."""
    accept: str
    """What to type to let the new licence count; empty if there is nothing to accept."""
    changes: tuple[str, ...] = ()
    """What differs, voice by voice: `card: MIT, now Apache-2.0`, `LICENSE text: changed`."""
    licence: str = ""
    """The one licence that the source names now; empty where it names none or several."""


def drifts(catalogue: Catalogue, names: Collection[str] = (), folder: Path | None = None) -> list[Drift]:
    """Every backbone version (of `names`, if any) compared with the hub or folder it was pulled from. Writes nothing.

    `folder` is where `path:` sources lie now: a pull does not keep it. A source that does not answer makes a version
    `unreachable`, not the command fail.
    """
    facts, policy = read_facts(catalogue), Policy.load(catalogue.settings)
    versions = catalogue.versions(kind="backbone")
    for name in sorted(set(names)):
        catalogue.newest(name)
    return [d for v in versions if not names or v.name in names for d in _drift(facts, policy, v, folder)]


def accept(catalogue: Catalogue, name: str, reason: str, folder: Path | None = None) -> Conclusion:
    """Conclude, for the newest version of `name`, the licence that its source names now; kept in the audit log.

    Raises `FailedPrecondition` when nothing has drifted, or when the source does not name exactly one licence.
    """
    version = catalogue.newest(name)
    found = [d for d in drifts(catalogue, [name], folder) if d.version == str(version)]
    moved = [d for d in found if d.direction not in ("same", "unreachable")]
    if not moved:
        state = (
            f"{name!r} cannot be compared" if any(d.direction != "same" for d in found) else f"{name!r} is as pinned"
        )
        raise FailedPrecondition(f"nothing to accept: {state}", fix=f"headstock licence drift {name}")
    named = {d.licence for d in moved}
    if len(named) != 1 or not all(named):
        raise FailedPrecondition(
            f"the source of {name!r} now names {' / '.join(d.now for d in moved)}; expected exactly one licence",
            fix=f"headstock licence conclude {version} --as LICENCE --reason REASON",
        )
    where = ", ".join(f"{d.repository}@{d.commit}" if d.commit else d.repository for d in moved)
    # An empty reason stays empty, so that deciding refuses it.
    words = f"{reason.strip()} (drift of {where}: {'; '.join(moved[0].changes)})" if reason.strip() else ""
    return conclude(catalogue, version.subject, named.pop(), words)


def _drift(facts: Facts, policy: Policy, version: Version, folder: Path | None) -> Iterator[Drift]:
    said = [s for s in facts.statements.get(version.subject, ()) if s.field == "licence" and s.source in _VOICES]
    for origin in sorted({_origin(s.locator) for s in said} - {""}):
        before = [s for s in said if _origin(s.locator) == origin]
        pinned = declared(before)
        try:
            with tempfile.TemporaryDirectory(prefix="headstock-drift-") as workdir:
                now = _ask(origin, folder, Path(workdir))
        except NotFound as error:
            yield Drift(str(version), origin, "gone", _text(pinned), error.message, "", "", ("source: gone",))
        except HeadstockError as error:
            yield Drift(str(version), origin, "unreachable", _text(pinned), error.message, "", "")
        else:
            yield _compared(facts, policy, version, origin, before, now)


def _ask(origin: str, folder: Path | None, workdir: Path) -> Now:
    if origin.startswith("hf:"):
        return hub_now(origin.removeprefix("hf:"), workdir)
    if folder is None:
        raise FailedPrecondition(f"where {origin} lies was not kept; name it with --folder DIR")
    return folder_now(folder, origin)


def _compared(
    facts: Facts, policy: Policy, version: Version, origin: str, before: Sequence[Evidence], now: Now
) -> Drift:
    subject = version.subject
    after = [s.about(subject) for s in now.statements if s.field == "licence" and s.source in _VOICES]
    pinned, present = declared(before), declared(after)
    changes = _changes(before, after, facts.files.get(subject, {}), now.texts)
    direction = _direction(facts, policy, subject, before, after) if changes else "same"
    if changes and direction == "changed" and all(change.endswith(": gone") for change in changes):
        direction = "gone"
    licence = present.text if len(present.readings) == 1 and present.text != NOASSERTION else ""
    decided = facts.conclusions.get(subject)
    command = ""
    if direction != "same" and licence and (decided is None or decided.expression != licence):
        reason = f"relicensed at {now.commit[:12]}" if now.commit else "relicensed"
        command = f"headstock licence conclude {version} --as '{licence}' --reason '{reason}'"
    return Drift(str(version), origin, direction, _text(pinned), _text(present), now.commit, command, changes, licence)


def _changes(
    before: Sequence[Evidence], after: Sequence[Evidence], pinned: Mapping[str, Digest], present: Mapping[str, Digest]
) -> tuple[str, ...]:
    found = []
    for voice in _VOICES:
        old, new = (declared(s for s in said if s.source == voice) for said in (before, after))
        if old.readings == new.readings or (voice == "licence-file" and "licence" in pinned):
            continue
        found.append(f"{voice}: gone" if not new.readings else f"{voice}: {_text(old)}, now {_text(new)}")
    for role, name in _TEXTS.items():
        was, now = pinned.get(role), present.get(role)
        if was != now and (was or role != "licence"):
            found.append(f"{name}: {'gone' if now is None else 'added' if was is None else 'changed'}")
    return tuple(found)


def _text(said: Declared) -> str:
    if said.text != NOASSERTION or not said.readings:
        return said.text
    return " / ".join(sorted({" or ".join(r.candidates) or r.why for r in said.readings}))


def _direction(
    facts: Facts, policy: Policy, subject: Digest, before: Sequence[Evidence], after: Sequence[Evidence]
) -> str:
    """Whether what is said now, taken alone, allows more or less than what was said, over all uses."""
    old, new = (_alone(facts, subject, said) for said in (before, after))
    moves = {
        rank(judge(new, subject, use, policy).value) - rank(judge(old, subject, use, policy).value) for use in _USES
    }
    if moves == {0}:
        return "changed"
    return "better" if min(moves) >= 0 else "worse" if max(moves) <= 0 else "changed"


def _alone(facts: Facts, subject: Digest, statements: Sequence[Evidence]) -> Facts:
    return replace(facts, statements={subject: tuple(statements)}, conclusions={}, edges={})


def _origin(locator: str) -> str:
    """`hf:ORG/NAME` or `path:NAME` of a statement's locator; empty for sources that are not asked again."""
    kind = locator.partition(":")[0]
    return locator.partition({"hf": "@", "path": "/"}[kind])[0] if kind in ("hf", "path") else ""
