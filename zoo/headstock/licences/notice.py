"""NOTICE: every licence of a lineage with its texts, statements and duties; equal bytes for equal facts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from headstock.digest import Digest
from headstock.licences import library
from headstock.licences.aliases import base
from headstock.licences.composition import judge
from headstock.licences.facts import Facts
from headstock.licences.judge import Duty
from headstock.licences.lineage import Step, walk
from headstock.licences.policy import Policy
from headstock.licences.settled import Settled, settle
from headstock.licences.statements import declared

Read = Callable[[Digest], bytes]

_CHANGES = {
    "converted_from": "converted to another format",
    "finetuned_from": "weights changed by fine-tuning",
    "initialised_from": "weights changed by training that began with them",
    "merged_from": "weights merged with others",
    "pruned_from": "weights removed",
    "quantised_from": "precision of the weights reduced",
}
"""Relations whose child contains the parent's files in a changed form, in the words of a modification notice."""

_RULE = "=" * 78
_THIN = "-" * 78


def notice(facts: Facts, title: str, subject: Digest, policy: Policy, read: Read) -> str:
    """The document for whoever receives or is served `subject`; `read` gives a stored blob.

    It covers every artefact of the lineage, training data among them whatever the policy's stance is, and lists the
    duties of sharing and of serving the public. It holds no date and no path.
    """
    stance = policy.stances["training_data"]
    wide = policy.with_stances(training_data=stance if stance.startswith("inherit") else "attribute")
    steps = walk(facts, subject, wide)
    reached = {step.reach for step in steps}
    # What a checkpoint was converted from says nothing of its own: its words are kept with the checkpoint.
    echoes = {r.digest for r in reached if r.origin and not facts.own_statements(r.digest)}
    echoes -= {r.digest for r in reached if not r.origin}
    digests = sorted({r.digest for r in reached} - echoes, key=lambda d: (facts.label(d), d))
    shown = [digest for digest in digests if facts.statements_about(digest) or digest in facts.conclusions]
    settled = {digest: settle(facts, digest) for digest in shown}
    lines = [f"NOTICE for {title}", str(subject), ""]
    lines += _silent(facts, digests, shown)
    lines += _duties(facts, subject, wide)
    lines += _changes(facts, steps)
    for digest in shown:
        lines += [_RULE, *_artefact(facts, digest, settled[digest])]
    lines += _texts(facts, shown, settled, read)
    return "\n".join(line.rstrip() for line in lines).rstrip() + "\n"


def _silent(facts: Facts, digests: Sequence[str], shown: Sequence[str]) -> Iterator[str]:
    silent = [d for d in digests if d not in shown and facts.kinds[d] in ("backbone", "dataset", "source")]
    for digest in silent:
        yield f"NOASSERTION: no source states a licence of {facts.label(digest)} ({digest})"
    if silent:
        yield ""


def _duties(facts: Facts, subject: Digest, policy: Policy) -> Iterator[str]:
    owed: set[Duty] = set()
    for context in (
        replace(policy.context, act="distribute", audience="public"),
        replace(policy.context, act="serve", audience="public"),
    ):
        owed |= set(judge(facts, subject, context, policy).duties)
    if owed:
        yield "Duties when it is shared or served to the public:"
        for duty in sorted(owed):
            yield f"  {duty.duty} ({duty.licence})" + (f": {duty.payload}" if duty.payload else "")
        yield ""


def _changes(facts: Facts, steps: Sequence[Step]) -> Iterator[str]:
    """Statements that files were changed, for licences that ask for them (Apache-2.0 section 4(b), MPL-2.0, Gemma)."""
    said: set[str] = set()
    for child in {step.reach.digest for step in steps}:
        for relation, parent in facts.edges.get(child, ()):
            # What a checkpoint was converted from often says nothing of its own: its words are kept with its child.
            speaking = (parent, child) if relation == "converted_from" else (parent,)
            named = {n for d in speaking for n in settle(facts, d).licences if _wants(n, "state-changes")}
            if relation in _CHANGES and named:
                said.add(
                    f"  {facts.label(child)} ({child}) holds changed files of {facts.label(parent)} ({parent}): "
                    f"{_CHANGES[relation]} ({', '.join(sorted(named))})"
                )
    if said:
        yield "Changed files, as their licences ask to say:"
        yield from sorted(said)
        yield ""


def _artefact(facts: Facts, digest: str, settled: Settled) -> Iterator[str]:
    yield facts.label(digest)
    yield f"  {digest}"
    yield f"  concluded: {settled.concluded}"
    yield f"  declared:  {settled.declared}"
    for statement in facts.statements_about(digest):
        said = f" in its words: {' '.join(statement.raw.split())}" if statement.raw else ""
        yield f"  {statement.source} at {statement.locator} says {statement.value}{said}"
    for name in settled.licences:
        doc = library.find(base(name))
        for document in doc.documents if doc else ():
            yield f"  {name}: {document.source}"
    yield ""


def _texts(facts: Facts, shown: Sequence[str], settled: dict[str, Settled], read: Read) -> Iterator[str]:
    """The texts that came with the artefacts, each once, and the licences of which none came."""
    owners: dict[tuple[str, Digest], list[str]] = {}
    for digest in shown:
        for role, blob in sorted(facts.files.get(digest, {}).items()):
            owners.setdefault((role, blob), []).append(facts.label(digest))
    for (role, blob), labels in sorted(owners.items(), key=lambda item: (item[1], item[0])):
        yield _RULE
        yield f"{role.upper().replace('-', ' ')} text of {', '.join(labels)}"
        yield _THIN
        yield from read(blob).decode(errors="replace").replace("\r\n", "\n").strip("\n").split("\n")
        yield ""
    missing = sorted(
        {n for d in shown for n in set(settled[d].licences) - _came_along(facts, d, settled[d]) if _wants_text(n)}
    )
    if missing:
        yield _RULE
        yield "Licences whose text did not come with the artefact; include it before sharing:"
        for name in missing:
            doc = library.find(base(name))
            yield f"  {name}: {doc.documents[0].source if doc else 'unknown'}"


def _came_along(facts: Facts, digest: str, settled: Settled) -> set[str]:
    """Licences of the artefact whose text is among its files: all of them, unless its texts are known to be some."""
    if not {"licence", "model-licence"} & facts.files.get(digest, {}).keys():
        return set()
    texts = declared(s for s in facts.own_statements(digest) if s.source == "licence-file")
    known = {name for r in texts.readings if r.expression is not None for name in r.expression.licences()}
    return known or set(settled.licences)


def _wants_text(licence: str) -> bool:
    doc = library.find(base(licence))
    return doc is None or _wants(licence, "include-text")


def _wants(licence: str, duty: str) -> bool:
    doc = library.find(base(licence))
    return doc is not None and any(condition.duty == duty for condition in doc.conditions)
