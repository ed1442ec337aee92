"""Sections of what a model was made from: other labelled data, a teacher, a parent, an earlier closed form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headstock.report.section import Bar, Section, with_interval

_SIDES = ("teacher", "student", "undistilled")


def adaptation(found: Mapping[str, Any]) -> Section:
    """All methods beside source-only, as they were judged without target labels."""
    text = [f"Verdict: {found['verdict']}. {reason[:1].upper()}{reason[1:]}." for reason in found["reasons"][:1]]
    text += [f"{reason[:1].upper()}{reason[1:]}." for reason in found["reasons"][1:]]
    text.append(
        "No target label was seen: the figures below choose, they do not prove. Risk and source accuracy are of held-"
        "out source rows, the others of target rows. Each is a mean over "
        f"{_counted(len(found['methods'][0]['risk']), 'seed')} on one split of the source; of others it tells nothing."
    )
    text.append(_shift(found["label_shift"]))
    rows = [
        [
            score["method"] + (" (chosen)" if score["method"] == found["chosen"] else ""),
            *(f"{_mean(score[key]):.3f}" for key in ("source_accuracy", "information", "density", "risk")),
            f"{score['agreement']:.2f}" + ("" if score["stable"] else ", unstable"),
        ]
        for score in found["methods"]
    ]
    headers = ("method", "source accuracy", "information", "density", "risk", "agreement of seeds (kappa)")
    return Section("Adaptation", text, headers, rows)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("s" if number > 1 else "")


def _shift(found: Mapping[str, Any]) -> str:
    if found["value"] is None:
        return "Label shift: not told, as no method's seeds agree enough."
    return (
        f"Label shift: {'flagged' if found['flagged'] else 'not flagged'}. As the answers of "
        f"{', '.join(found['methods'])} tell it (median), the class proportions differ from the source's by a total "
        f"variation of {found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]; it is flagged where the lower "
        f"end is above {found['limit']:g}. Methods that align domains hide a part of a shift, so it may be larger."
    )


def distillation(found: Mapping[str, Any]) -> Section:
    """Teacher, student, and the same student on the labels alone."""
    cost, accuracy = found["cost"], found["accuracy"]
    text = [
        f"Learned from {found['teacher']} at temperature {found['temperature']:g}, weight {found['alpha']:g} against "
        f"the labels; {found['labelled']} rows have a label, {found['unlabelled']} have not. Figures are of "
        f"{found['rows']} validation rows, held against {found['truth']}.",
        f"The student's graph has {cost['size_ratio']:.2f} of the teacher's size and takes {cost['time_ratio']:.2f} of "
        "its time per row.",
    ]
    if gain := found.get("against_undistilled"):
        text.append(f"Over the same student taught by the labels alone: {_gain(gain)}.")
    text.append(f"Over its teacher: {_gain(found['against_teacher'])}.")
    shown = {side: accuracy[side] for side in _SIDES if side in accuracy}
    rows = [[side, with_interval(rate), *_costs(cost, "teacher" if side == "teacher" else "student")]
            for side, rate in shown.items()]  # fmt: skip
    bars = [Bar(side, rate["value"], rate["low"], rate["high"]) for side, rate in shown.items()]
    return Section("Distillation", text, ("model", "accuracy", "graph MB", "ms per row"), rows, bars)


def continued(found: Mapping[str, Any]) -> Section:
    """Parent and child on the new rows."""
    new = ", ".join(found["new_labels"])
    text = [f"Went on from {found['parent']}" + (f", with the new labels {new}" if new else "") + "."]
    if found["replayed"]:
        text.append(f"{found['replayed']} rows of its data were trained on again.")
    return Section("Gain over the parent on the new rows", text, *_before_after(found["validation"]))


def update(found: Mapping[str, Any]) -> Section:
    """What was done to the parent."""
    rows = [["act", found["act"]], ["rows", str(found["rows"])], ["parent", found["parent"]]]
    rows.append(["transfer verdict", found["verdict"]])
    return Section("Update in closed form", (), ("", ""), rows)


def forgetting(found: Mapping[str, Any]) -> Section:
    """Parent and child on what judged the parent."""
    if found["before"] is None:
        return Section("Forgetting against the parent", ["No row is left that judged the parent alone."])
    return Section("Forgetting against the parent", (), *_before_after(found))


def _before_after(found: Mapping[str, Any]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    low, high = found["interval"]
    difference = f"{found['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"
    headers = ("rows", f"{found['metric']} of the parent", "of this model", "difference")
    return headers, [[str(found["rows"]), f"{found['before']:.3f}", f"{found['after']:.3f}", difference]]


def _costs(cost: Mapping[str, Any], side: str) -> list[str]:
    return [f"{cost[f'{side}_bytes'] / 1e6:.2f}", f"{cost[f'{side}_seconds_per_row'] * 1e3:.3f}"]


def _gain(found: Mapping[str, Any]) -> str:
    return f"{found['value']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
