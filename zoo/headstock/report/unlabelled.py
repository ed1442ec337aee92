"""Sections of reports on runs without labels: objectives, clusterings, pairs of towers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headstock.records import Version
from headstock.report.read import reproduce_command
from headstock.report.section import Section


def unlabelled_sections(version: Version, report: Mapping[str, Any]) -> list[Section]:
    """All sections of a report that `is_unlabelled`."""
    found = [_summary(report)]
    if "held_out" in report:
        found.append(_held_out(report["objective"]["name"], report["held_out"]))
    if report.get("probe"):
        found.append(_probe(report["probe"]))
    if "clustering" in report:
        found += _clustering(report["clustering"])
    if "retrieval" in report:
        found.append(_retrieval(report["retrieval"]))
    if "clustering" not in report and "recipe" in report:
        found.append(Section("Reproduce", command=reproduce_command(version, report)))
    return found


def is_unlabelled(report: Mapping[str, Any]) -> bool:
    """True for what `unlabelled_sections` can show."""
    return bool({"held_out", "clustering", "retrieval"} & set(report))


def _summary(report: Mapping[str, Any]) -> Section:
    objective, data = report.get("objective") or {}, report.get("data") or {}
    facts = [
        ("objective", objective.get("name")),
        ("strategy", report.get("strategy")),
        ("seed", report.get("seed")),
        ("backbone", report["backbone"]["name"]),
        ("tap", report["backbone"]["tap"]),
        ("data", data.get("name")),
        ("rows", data.get("rows")),
        ("pieces", data.get("pieces")),
        ("held-out rows", data.get("validation")),
        ("recipe", report.get("recipe")),
    ]
    facts += sorted((f"option {name}", value) for name, value in (objective.get("options") or {}).items())
    return Section("Summary", (), ("", ""), [[name, str(value)] for name, value in facts if value is not None])


def _held_out(objective: str, found: Mapping[str, Any]) -> Section:
    states = [state for state in ("before", "head_alone", "after") if state in found]
    rows = [[name, *(_figure(found[state][name]) for state in states)] for name in found["before"]]
    text = [f"The objective {objective} on {found['pieces']} held-out pieces, always of the same views."]
    if "gain" in found:
        text.append(
            f"Against the same head that learned for as long on the backbone as it was, the loss is smaller by "
            f"{_figure(found['gain'])} (95 %, bootstrap over pieces): that is what the backbone itself gained."
        )
    else:
        text.append(
            f"The loss fell by {_figure(found['drop'])} (95 %, bootstrap over pieces). The head is new, so how "
            "much of that the backbone itself gained is not known: --control measures it."
        )
    return Section("Held out", text, ("figure", *(state.replace("_", " ") for state in states)), rows)


_WORDS = {
    "positive": "it helped",
    "negative": "it hurt",
    "none": "no difference can be told, the interval of the gain holds zero",
}


def _probe(found: Mapping[str, Any]) -> Section:
    rows = []
    for name, words in (("linear", "linear probe"), ("neighbours", "5 nearest neighbours")):
        one = found[name]
        rows.append([words, _figure(one["before"]), _figure(one["after"]), _figure(one["gain"])])
    text = [
        f"Accuracy on the {found['rows']} labelled rows of {found['data']}, tap {found['tap']}, each row answered by a "
        f"probe that did not learn from it: {_WORDS[found['linear']['verdict']]}."
    ]
    if found["linear"]["verdict"] == "negative":
        text.append("Neither this backbone nor what stands on it is promoted unless forced.")
    return Section("Probe", text, ("", "before", "after", "gain"), rows)


def _clustering(found: Mapping[str, Any]) -> list[Section]:
    rows = [["silhouette", _figure(found["silhouette"])], ["the same columns shuffled", f"{found['shuffled']:.3f}"]]
    if found["stability"] is not None:
        rows.append([f"agreement of {found['seeds']} seeds (ARI)", f"{found['stability']:.3f}"])
    if found.get("agreement"):
        rows.append([f"agreement with {found['agreement']['column']} (ARI)", _figure(found["agreement"])])
    text = [
        f"{found['k']} clusters" + (", by the highest silhouette" if found["chosen"] else "") + f": {found['verdict']}."
    ]
    quality = Section("Quality", text, ("figure", "value"), rows)
    tried = [[str(one["k"]), f"{one['silhouette']:.3f}"] for one in found["tried"]]
    clusters = [
        [one["name"], str(one["rows"]), one.get("label") or "-", " / ".join(one["examples"])]
        for one in found["clusters"]
    ]
    headers = ("cluster", "rows", "commonest label", "nearest to the middle")
    sections = [quality, Section("Clusters", (), headers, clusters)]
    return [*sections, Section("Numbers of clusters", (), ("k", "silhouette"), tried)] if len(tried) > 1 else sections


def _retrieval(found: Mapping[str, Any]) -> Section:
    rows = [
        [f"{way.replace('_', ' ')}, recall at {k}", _figure(one["before"]), _figure(one["after"])]
        for way in ("image_to_text", "text_to_image")
        for k, one in found[way].items()
    ]
    gain = found["gain"]
    text = [
        f"On {found['pairs']} held-out pairs, each looked for among all of them. Recall at 1 over both ways: "
        f"{_figure(gain)} gained, {_WORDS[gain['verdict']]}."
    ]
    return Section("Retrieval", text, ("", "before", "after"), rows)


def _figure(found: Mapping[str, Any]) -> str:
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
