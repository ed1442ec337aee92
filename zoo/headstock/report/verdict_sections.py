"""The sections that say whether transfer helped, and how far that depends on the split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headstock.report.section import Section, bar_of, with_interval


def verdict(transfer: Mapping[str, Any]) -> Section:
    """All models on the same validation rows, the gain, and the verdict in words."""
    figure = transfer.get("figure", "accuracy")
    scores = sorted(transfer["accuracies"], key=lambda score: -score["value"])
    text = [
        f"Verdict: {_WORDS[transfer['verdict']]}. The {figure} of the chosen strategy is {_signed(transfer)} against "
        f"{transfer['against']}, the best of those that learned from the target data alone (95 %, "
        f"{transfer['method']})."
    ]
    if probed := transfer.get("over_probe"):
        text.append(f"Over a linear probe of the same backbone it is {_signed(probed)}.")
    if transfer["baseline_rows"] < transfer["training_rows"]:
        text.append(
            f"Comparisons were trained on {transfer['baseline_rows']} of {transfer['training_rows']} training rows."
        )
    if done := transfer.get("scratch"):
        text.append(
            f"From scratch: the same architecture from random weights, {done['epochs']} epochs on {done['rows']} rows "
            f"at rate {done['rate']:g}, best epoch {done['best_epoch']}."
        )
    text += [f"Not measured: {name} ({why})." for name, why in transfer["not_measured"].items()]
    interval = transfer["interval"]
    text.append(
        f"The gain's interval is {interval['width']:.3f} wide. It and those in the table are over the "
        f"{interval['rows']} validation rows ({transfer['accuracies'][0]['method']}, 95 %) of one split and one seed: "
        f"they do not tell how far another split or seed would move the figures{_elsewhere(transfer)}."
    )
    rows = [[s["name"], with_interval(s), "-" if s["seconds"] is None else f"{s['seconds']:.2f}"] for s in scores]
    # A figure below 0, as R2 can be, has no place on the axis; the table has it.
    return Section("Transfer", text, ("model", figure, "seconds"), rows, [bar_of(s["name"], s) for s in scores])


def _elsewhere(transfer: Mapping[str, Any]) -> str:
    """Where that is told; answers of many parts are scored on one split only."""
    if "over_splits" not in transfer:
        return ""
    return ", as the next section does" if transfer["over_splits"] else "; headstock fine-tune --splits N does"


_WORDS = {
    "positive": "positive, transfer helped",
    "negative": "negative, transfer hurt; it is not promoted unless forced",
    "none": "none, the interval of the gain holds zero",
    "not measured": "not measured",
}


def over_splits(found: Mapping[str, Any]) -> Section:
    """The same models on other splits of the same rows."""
    title = f"Over {found['splits']} other splits and seeds"
    if not found["splits"]:
        return Section("Over other splits and seeds", [f"Not measured: {found['missing']}."])
    text = [
        "The same rows, split and trained anew with other seeds. Intervals are over splits (95 %, Nadeau and Bengio "
        "2003), which share rows; the verdict is that of the recipe's own split."
    ]
    if gain := found.get("gain"):
        text.append(f"Gain of the chosen strategy over {gain['against']}: {_spread(gain, signed=True)}.")
    if missing := found.get("missing"):
        text.append(f"Not measured: {missing}.")
    rows = [[row["name"], _spread(row)] for row in sorted(found["rows"], key=lambda row: -row["value"])]
    return Section(title, text, ("model", found["figure"]), rows)


def _spread(found: Mapping[str, Any], *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    if found["low"] is None:
        return f"{found['value']:{sign}.3f}"
    return f"{found['value']:{sign}.3f} [{found['low']:{sign}.3f}, {found['high']:{sign}.3f}]"


def _signed(found: Mapping[str, Any]) -> str:
    return f"{found['gain']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]"
