"""The section "price of sharing": this model beside its siblings that share otherwise, trained on the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from shlex import quote
from typing import TYPE_CHECKING, Any

from headstock.digest import Digest
from headstock.records import Version
from headstock.report.forms import Form, form_of_version
from headstock.report.price import BATCH, KINDS, STRATEGIES, Cost, Kind, kind_of, measure
from headstock.servable import ServableBackbone, load_backbone

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.preprocess import Row

_MOST_READ = 50
_COPY = "an untrained copy"


def siblings(catalogue: Catalogue, report: Mapping[str, Any]) -> list[tuple[Version, Mapping[str, Any]]]:
    """Versions that were trained for the same head type, tap and backbone on the same rows, newest first.

    Their validation rows are the same too, so their figures can be compared row by row. One whose adapter was merged is
    another in another form, and was not trained.
    """
    rows = (report.get("validation") or {}).get("rows")
    wanted = (report["head_type"], report["data"]["sha256"], report["backbone"]["tap"])
    found: list[tuple[Version, Mapping[str, Any]]] = []
    likely = [
        version
        for version in catalogue.versions(kind="model")
        if wanted == tuple(version.details.get(key) for key in ("head_type", "data_digest", "tap"))
        and "merged" not in version.details
    ]
    for version in sorted(likely, key=lambda v: v.created_at, reverse=True)[:_MOST_READ]:
        blob = catalogue.artefact(version.subject).files.get("report")
        other = catalogue.store.read_json(blob) if blob else {}
        same = rows is not None and (other.get("validation") or {}).get("rows") == rows
        if same and other["backbone"]["digest"] == report["backbone"]["digest"]:
            found.append((version, other))
    return found


def price(
    catalogue: Catalogue,
    report: Mapping[str, Any],
    base: ServableBackbone,
    rows: list[Row],
    own: Form | None,
    name: str,
) -> dict[str, Any]:
    """The section as JSON values; `own` is what a run has just trained, or None where `report` belongs to `name`.

    Every way to share is there: measured where it is trained, else with the command that trains it. A head on the
    shared backbone is measured in every case, as its size follows from the task; its accuracy is then that of the
    report's linear probe.
    """
    forms: dict[str, Form] = {} if own is None else {name: own}
    figures = {} if own is None else {name: _primary(report)}
    kinds = {} if own is None else {_planned(own, report["strategy"]): name}
    for version, other in siblings(catalogue, report):
        form = form_of_version(catalogue, version, base)
        # Two runs that end with one head share one report, so only the version knows its strategy.
        # The report's own model comes first; of the others the newest of each kind.
        mine, kind = str(version) == name, _planned(form, str(version.details.get("strategy")))
        if mine or kind not in kinds:
            kinds[kind] = str(version)
            forms[str(version)], figures[str(version)] = form, _primary(other)
    if "head only" not in kinds and forms:
        some = next(iter(forms.values()))
        kinds["head only"] = "linear probe"
        forms["linear probe"] = Form(base, some.tap, some.width, some.out, some.head_bytes, head=some.head)
        figures["linear probe"] = _probe(report)
    if "private copy" not in kinds and forms:
        # Trained or not, a copy has the size and the speed of what it would be a copy of.
        forms[_COPY] = replace(next(iter(forms.values())), own=base, adapter=None)
    costs, alone = measure(forms, rows, catalogue.settings.cache)
    command = f"headstock report {name} --price --data {quote(report['data']['name'])}"
    table = [_row(kind, kinds, figures, costs, command) for kind in KINDS]
    for row in table:
        served = forms.get(row["model"])
        # The best epoch of a run may be one before anything but the head had moved.
        row["served_as"] = kind_of(served) if served else row["kind"]
    return {
        "metric": report["primary_metric"],
        "batch": len(rows),
        "most_batch": BATCH,
        "alone_row_ms": round(alone * 1e3, 6),
        "backbone_bytes": base.graph.stat().st_size,
        "strategies": dict(STRATEGIES),
        "rows": table,
    }


def _planned(form: Form, strategy: str) -> Kind:
    """What a run set out to make, which may have ended as a head alone."""
    made = kind_of(form)
    return next((kind for kind, name in STRATEGIES.items() if name == strategy), made) if made == "head only" else made


def _row(
    kind: Kind,
    kinds: Mapping[Kind, str],
    figures: Mapping[str, dict[str, Any] | None],
    costs: Mapping[str, Cost],
    command: str,
) -> dict[str, Any]:
    model = kinds.get(kind, "")
    cost = costs.get(model or (_COPY if kind == "private copy" else ""))
    figure = figures.get(model)
    return {
        "kind": kind,
        "model": model,
        "figure": figure,
        "extra_bytes": cost.extra_bytes if cost else None,
        "first_bytes": cost.first_bytes if cost else None,
        "resident": cost.resident if cost else None,
        "row_ms": cost.row_ms if cost else None,
        "extra_row_ms": cost.extra_row_ms if cost else None,
        "command": "" if figure else command,
    }


def base_of(catalogue: Catalogue, report: Mapping[str, Any]) -> ServableBackbone:
    """The backbone that the run behind a report began with."""
    return load_backbone(catalogue, Digest(report["backbone"]["digest"]))


def _primary(report: Mapping[str, Any]) -> dict[str, Any] | None:
    for metric in report["metrics"]:
        if metric["name"] == report["primary_metric"]:
            return {key: metric[key] for key in ("value", "low", "high")}
    return None


def _probe(report: Mapping[str, Any]) -> dict[str, Any] | None:
    transfer = report.get("transfer") or {}
    for score in transfer.get("accuracies", ()):
        if score["name"] == "linear probe":
            return {key: score[key] for key in ("value", "low", "high")}
    return None
