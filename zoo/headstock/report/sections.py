"""A report as titled tables of text: what every written form of it shows, in one order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from headstock.records import Version
from headstock.report.origin import adaptation, continued, distillation, forgetting, update
from headstock.report.read import reproduce_command
from headstock.report.section import Section, bar_of, with_interval
from headstock.report.verdict_sections import over_splits, verdict


def sections(version: Version, report: Mapping[str, Any]) -> list[Section]:
    """All sections that this report has figures for, and one that says what it has none of and why."""
    # That module stands on the parts of this one.
    from headstock.report.unlabelled import is_unlabelled, unlabelled_sections

    if is_unlabelled(report):
        return unlabelled_sections(version, report)
    found = [_summary(report)]
    for key, make in (
        ("adaptation", adaptation),
        ("distillation", distillation),
        ("continued", continued),
        ("update", update),
        ("forgetting", forgetting),
        ("transfer", verdict),
        ("over_splits", over_splits),
        ("price", price_section),
        ("groups", _groups),
        ("calibration", _calibration),
        ("confusion", _confusion),
        ("learning_curve", _curve),
        ("slices", _slices),
    ):
        if part := report.get(key) or (report.get("transfer") or {}).get(key):
            found.append(make(part))
    if "seconds" in report:
        found.append(_cost(report))
    # Only what `fine-tune` makes is assessed; an adaptation or an update has its own sections instead.
    if "depth" in report and (absent := list(_absent(report))):
        found.append(Section("Not in this report", absent))
    if "data" in report:
        found.append(Section("Reproduce", command=reproduce_command(version, report)))
    return found


def _absent(report: Mapping[str, Any]) -> Iterator[str]:
    """What a reader may look for and not find, each with its reason."""
    if report.get("depth") == "none":
        yield "Verdict, price, calibration, groups, curve and slices: the run was told --report none."
        return
    if not report.get("transfer"):
        missing = (report.get("transfer_missing") or {}).items()
        why = "; ".join(why if name == "verdict" else f"{name}: {why}" for name, why in missing)
        yield f"Verdict: {why or 'nothing to compare this head with'}."
    classes = report.get("task") == "classification"
    compared = bool(report.get("transfer")) and "scratch" in report["transfer"]
    if not report.get("price"):
        yield "Price of sharing: made before it was part of a report; headstock report NAME --price measures it."
    if not report.get("groups"):
        yield "Groups: headstock fine-tune --group-by COLUMN."
    if not report.get("calibration"):
        few = "fewer than 4 validation rows." if compared else "nothing to compare this head with."
        yield "Calibration: " + (few if classes else "for heads that choose one class.")
    if not report.get("learning_curve"):
        yield "Learning curve: headstock fine-tune --report full." if compared else "Learning curve: no linear probe."
    if not report.get("slices") and compared:
        yield "Slices: the validation rows are all alike in what is sliced by."


def _summary(report: Mapping[str, Any]) -> Section:
    facts = [("head type", report.get("head_type")), ("strategy", report.get("strategy")), ("seed", report.get("seed"))]
    backbone, data = report.get("backbone") or {}, report.get("data") or {}
    facts += [("backbone", backbone.get("name")), ("data", data.get("name")), ("training rows", data.get("train"))]
    facts += [("validation rows", data.get("validation")), ("recipe", report.get("recipe"))]
    metrics = report.get("metrics") or []
    rows = [[name, str(value)] for name, value in facts if value is not None]
    rows += [[metric["name"], with_interval(metric)] for metric in metrics]
    note = ["Metrics are those of the validation rows, which also chose the best epoch."] if "epochs" in report else []
    if (truth := report.get("truth", "labels")) != "labels":
        note.append(f"No row has a label of its own: every figure is agreement with the {truth}, not accuracy.")
    return Section("Summary", note, ("", ""), rows)


def price_section(price: Mapping[str, Any]) -> Section:
    """What each way to share costs a server that has the backbone already."""
    rows, commands = [], []
    for row in price["rows"]:
        figure = f"{with_interval(row['figure'])} ({row['model']})" if row["figure"] else "not trained"
        cost = ["not trained"] * 4
        if row["extra_bytes"] is not None:
            cost = [f"{row[key] / 1e6:.3f}" for key in ("first_bytes", "extra_bytes")]
            cost += [f"{row['row_ms']:.3f}", f"{row['extra_row_ms']:+.3f}"]
        rows.append([row["kind"], figure, *cost])
        commands += [row["command"]] if row["command"] else []
    text = [
        f"Resident memory on top of the backbone's (a file of {price['backbone_bytes'] / 1e6:.1f} MB), which is loaded "
        "once: of the first model of a kind, which for LoRA opens the session that all adapters of one shape share, "
        f"and of each further one. Sessions are {_counted(price['rows'])}; heads and adapters are stacked arrays as "
        "large as their files. CPU time of one row "
        f"on this machine with one thread: head and adapter in a pass of {price['batch']} rows that other models "
        "share, a private copy alone, as its rows share a pass only with each other."
    ]
    text += [
        f"The {row['kind']} run kept an epoch in which only the head had moved, so it is served as a head."
        for row in price["rows"]
        if row["figure"] and row["served_as"] != row["kind"]
    ]
    if commands:
        text.append("The command trains what is not trained, as versions of their own, and measures all again.")
    headers = ("served as", price["metric"], "MB, first", "MB, each further", "ms per row", "extra ms per row")
    return Section("Price of sharing", text, headers, rows, command=commands[0] if commands else "")


def _counted(rows: Sequence[Mapping[str, Any]]) -> str:
    files = any(row["resident"] == "file sizes" for row in rows)
    return "counted by the size of their files" if files else "measured in a process of their own"


def _groups(groups: Mapping[str, Any]) -> Section:
    rows = []
    for who, found in ((groups["base"], groups["of_base"]), ("this model", groups["of_model"])):
        rows.append([who, groups.get("figure", "accuracy"), _gap(found["accuracy_gap"])])
        for label, rates in found["classes"].items():
            rows += [
                [who, f"{name} of {label}", _gap(rates[key])]
                for name, key in (
                    ("demographic parity difference", "demographic_parity_difference"),
                    ("equalised odds difference", "equalised_odds_difference"),
                )
            ]
    bars = [bar_of(name, rate) for name, rate in groups["of_model"]["accuracy"].items() if rate]
    text = ["A gap is flagged where the intervals of its two groups do not overlap."]
    return Section(f"Groups by {groups['column']}", text, ("model", "gap", "size"), rows, bars)


def _calibration(found: Mapping[str, Any]) -> Section:
    rows = [["before", with_interval(found["before"])], ["after", with_interval(found["after"])]]
    text = [
        f"Expected calibration error over {found['bins']} bins, before and after temperature scaling "
        f"(temperature {found['temperature']:.2f}); the served model is not scaled."
    ]
    return Section("Calibration", text, ("", "ECE"), rows)


def _confusion(found: Mapping[str, Any]) -> Section:
    labels, matrix = found["labels"], found["matrix"]
    if len(labels) <= 20:
        rows = [[label, *map(str, counts)] for label, counts in zip(labels, matrix, strict=True)]
        return Section("Confusion", ["Rows are true classes, columns answers."], ("", *labels), rows)
    wrong = sorted(
        ((count, i, j) for i, counts in enumerate(matrix) for j, count in enumerate(counts) if count and i != j),
        key=lambda cell: (-cell[0], cell[1], cell[2]),
    )
    worst = [[labels[i], labels[j], str(count)] for count, i, j in wrong[:20]]
    return Section("Confusion", [f"The most frequent of {len(wrong)} mistakes."], ("true", "answered", "rows"), worst)


def _curve(points: Sequence[Mapping[str, Any]]) -> Section:
    rows = [[str(point["per_class"] or "-"), str(point["rows"]), with_interval(point)] for point in points]
    bars = [
        bar_of(f"{point['per_class']} per class" if point["per_class"] else f"{point['rows']} rows", point)
        for point in points
    ]
    text = ["Of a linear probe: where it still rises at the end, more rows will help."]
    return Section("Learning curve", text, ("rows per class", "rows", points[0]["name"]), rows, bars)


def _slices(found: Mapping[str, Any]) -> Section:
    names = [f"{part['from']:.3g} to {part['to']:.3g}" for part in found["slices"]]
    rows = [[name, str(p["rows"]), with_interval(p)] for name, p in zip(names, found["slices"], strict=True)]
    bars = [bar_of(name, part) for name, part in zip(names, found["slices"], strict=True)]
    figure = found["slices"][0]["name"]
    return Section(f"Slices by {found['by']}", (), (found["by"], "rows", figure), rows, bars)


def _cost(report: Mapping[str, Any]) -> Section:
    rows = [[name, f"{value:.2f} s"] for name, value in report["seconds"].items()]
    if report.get("report_seconds") is not None:
        rows.append(["this report", f"{report['report_seconds']:.2f} s"])
    if report.get("peak_memory_bytes"):
        rows.append(["peak memory of the process", f"{report['peak_memory_bytes'] / 1e6:.0f} MB"])
    return Section("Cost", (), ("", ""), rows)


def _gap(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "not measured"
    flag = ", flagged" if found["flagged"] else ""
    return f"{found['value']:.3f} ({found['most']} over {found['least']}{flag})"
