"""The model card of a version: hub metadata, then licences with reasons, lineage, figures, and how to make it again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headstock.licences.aliases import NOASSERTION
from headstock.licences.composition import Verdict
from headstock.licences.cyclonedx import closure
from headstock.licences.documents.hub import licence_fields
from headstock.licences.facts import Facts, repository_of
from headstock.licences.settled import settle
from headstock.records import Version
from headstock.report.read import reproduce_command
from headstock.report.verdict_sections import verdict

_PIPELINES = {
    "text-classification": "text-classification",
    "token-classification": "token-classification",
    "question-answering": "question-answering",
    "image-classification": "image-classification",
    "audio-classification": "audio-classification",
    "speech-recognition": "automatic-speech-recognition",
    "embedding": "feature-extraction",
}
_HUB = "hf:"
_RELATIONS = {"merged_from": "merge", "quantised_from": "quantized"}


@dataclass(frozen=True)
class Subject:
    """What a card is made of; plain data, so equal subjects make equal cards."""

    facts: Facts
    version: Version
    verdict: Verdict
    use: str
    """The use that the verdict is about, in words."""
    report: Mapping[str, Any]
    """The report of the run that made it; empty for a backbone that was pulled."""


def card(subject: Subject) -> str:
    """The card as Markdown with YAML front matter that `problems` finds nothing wrong with."""
    from huggingface_hub import ModelCardData

    metadata = ModelCardData(**_metadata(subject)).to_yaml(line_break="\n")
    sections = (
        ("", [_first(subject)]),
        ("Licences", _licences(subject)),
        ("Lineage", _lineage(subject)),
        ("Figures", _figures(subject.version)),
        ("Transfer", _transfer(subject.report.get("transfer"))),
        ("Groups", _table(subject.report.get("groups"))),
        ("Calibration", _table(subject.report.get("calibration"))),
        ("Made again", _reproduce(subject)),
    )
    lines = ["---", metadata.strip("\n"), "---", "", f"# {subject.version.name}", ""]
    for title, body in sections:
        said = list(body)
        if said:
            lines += ([f"## {title}", ""] if title else []) + said + [""]
    return "\n".join(lines).rstrip("\n") + "\n"


# ---------------------------------------------------------------------------------------------- front matter
def _metadata(subject: Subject) -> dict[str, Any]:
    facts, version = subject.facts, subject.version
    head = _head_type(subject)
    made: dict[str, Any] = {
        **licence_fields(_own_licence(facts, version.subject)),
        "library_name": "headstock",
        "tags": ["headstock", *([head] if head else [])],
    }
    bases = _bases(facts, version.subject)
    if bases:
        made["base_model"] = bases[0] if len(bases) == 1 else bases
        made["base_model_relation"] = _relation(facts, version.subject)
    datasets = _datasets(subject)
    if datasets:
        made["datasets"] = datasets
    if head in _PIPELINES:
        made["pipeline_tag"] = _PIPELINES[head]
    metrics = version.details.get("metrics", [])
    if metrics:
        made["metrics"] = sorted({str(metric["name"]) for metric in metrics})
        made["model_name"] = version.name
        made["eval_results"] = _results(subject, head, metrics)
    return {key: value for key, value in made.items() if value is not None}


def _own_licence(facts: Facts, digest: str) -> str:
    """What is decided about the artefact itself, else what its own sources declare; never its parents' word."""
    settled = settle(facts, digest)
    return settled.declared if settled.concluded == NOASSERTION else settled.concluded


def _bases(facts: Facts, digest: str) -> list[str]:
    """Hub repositories of the backbone or parents nearest to it."""
    backbones = [parent for part, parent in facts.parts(digest) if part == "backbone"] or [digest]
    sources = [d for b in backbones for d in closure(facts, b) if facts.kinds[d] == "source"]
    specs = [repository_of(str(facts.identity(d).get("spec", ""))) for d in sources]
    return sorted({spec.removeprefix(_HUB) for spec in specs if spec.startswith(_HUB)})


def _relation(facts: Facts, digest: str) -> str | None:
    """The hub's word; None where it has none: a checkpoint that was only converted is no derivative in its words."""
    if facts.kinds[digest] == "adapter" or any(part == "adapter" for part, _ in facts.parts(digest)):
        return "adapter"
    reached = [relation for d in closure(facts, digest) for relation, _ in facts.edges.get(d, ())]
    named = [word for ours, word in _RELATIONS.items() if ours in reached]
    if named:
        return named[0]
    return "finetune" if facts.parts(digest) or "finetuned_from" in reached else None


def _results(subject: Subject, head: str, metrics: Sequence[Mapping[str, Any]]) -> list[Any]:
    from huggingface_hub import EvalResult

    data = str(subject.version.details.get("data") or NOASSERTION)
    return [
        EvalResult(
            task_type=_PIPELINES.get(head, head or "other"),
            dataset_type=data,
            dataset_name=data,
            dataset_split="validation",
            metric_type=str(metric["name"]),
            metric_value=float(metric["value"]),
        )
        for metric in metrics
    ]


# ---------------------------------------------------------------------------------------------- body
def _first(subject: Subject) -> str:
    version, head = subject.version, _head_type(subject)
    what = f"a {head} model on the shared backbone below" if head else f"a {version.kind}"
    return f"Version {version.number}, {what}. Digest `{version.subject}`, made {version.created_at}."


def _licences(subject: Subject) -> Iterator[str]:
    verdict = subject.verdict
    yield f"**{verdict.value}** for {subject.use}: {_cell(verdict.reason)}."
    yield ""
    yield f"Proof `{verdict.proof_id}`; `headstock licence why {subject.version}` prints it. This is no legal advice."
    rows = []
    for digest in closure(subject.facts, subject.version.subject):
        settled = settle(subject.facts, digest)
        if subject.facts.statements_about(digest) or settled.decision:
            rows.append((subject.facts.label(digest), settled.declared, settled.concluded))
    yield from _rows(("artefact", "declared", "concluded"), sorted(rows))
    if verdict.duties:
        yield from ("", "Duties:", "")
        for duty in sorted(verdict.duties):
            yield f"- {duty.duty} ({duty.licence})" + (f": {_cell(duty.payload)}" if duty.payload else "")
    if verdict.findings:
        yield from ("", "Findings:", "")
        yield from (f"- {finding.kind}: {_cell(finding.message)}" for finding in verdict.findings)


def _lineage(subject: Subject) -> Iterator[str]:
    facts, rows = subject.facts, []
    for digest in closure(facts, subject.version.subject):
        edges = [(f"has_{part}", parent) for part, parent in facts.parts(digest)] + list(facts.edges.get(digest, ()))
        rows += [(facts.label(digest), relation, facts.label(parent), parent) for relation, parent in edges]
    yield from _rows(("artefact", "relation", "of", "digest"), sorted(rows))


def _figures(version: Version) -> Iterator[str]:
    metrics = version.details.get("metrics", [])
    rows = [
        (str(m["name"]), f"{m['value']:.4g}", f"{m['low']:.4g} to {m['high']:.4g}", str(m.get("method", "")))
        for m in metrics
    ]
    yield from _rows(("metric", "value", "95 % interval", "method"), rows)


def _transfer(found: Any) -> Iterator[str]:
    """The verdict with what its interval is of, as the report's page has it."""
    if isinstance(found, Mapping) and found:
        section = verdict(found)
        for paragraph in section.text:
            yield from (_cell(paragraph), "")
        yield from _rows(section.headers, section.rows)


def _reproduce(subject: Subject) -> Iterator[str]:
    version = subject.version
    yield "```"
    if version.kind == "model" or subject.report:
        yield reproduce_command(version, subject.report)
    else:
        source, commit = version.details.get("source", version.name), version.details.get("commit")
        yield f"headstock pull {source}" + (f"@{commit}" if commit and "@" not in str(source) else "")
    yield "```"


def _table(value: Any) -> Iterator[str]:
    """Whatever a report keeps: a list of records with equal keys, or names with values; nothing for anything else."""
    if isinstance(value, Mapping):
        yield from _rows(("name", "value"), [(str(key), _text(item)) for key, item in value.items()])
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        keys = list(dict.fromkeys(key for item in value for key in item))
        yield from _rows(keys, [[_text(item.get(key, "")) for key in keys] for item in value])


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    return ", ".join(_text(item) for item in value) if isinstance(value, list) else str(value)


def _rows(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    listed = list(rows)
    if listed:
        yield ""
        yield "| " + " | ".join(headers) + " |"
        yield "|" + "---|" * len(headers)
        yield from ("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in listed)


def _cell(text: str) -> str:
    """On one line, and unable to end a cell or to become markup of its own."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return plain.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "'")


def _head_type(subject: Subject) -> str:
    facts = subject.facts
    heads = [facts.identity(d) for part, d in facts.parts(subject.version.subject) if part == "head"]
    return str(heads[0].get("type", "")) if heads else ""


def _datasets(subject: Subject) -> list[str]:
    """Data sets that are repositories of the hub; a local file has no name there and stands under Lineage."""
    facts = subject.facts
    digests = [d for d in closure(facts, subject.version.subject) if facts.kinds[d] == "dataset"]
    specs = [str(facts.identity(d).get("spec", "")) for d in digests]
    return sorted({repository_of(spec).removeprefix(_HUB) for spec in specs if spec.startswith(_HUB)})
