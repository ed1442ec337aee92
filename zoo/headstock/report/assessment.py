"""The assessment of a trained model: comparisons, verdict, price, calibration, groups, curve and slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from headstock.errors import InvalidInput
from headstock.memory import peak_memory
from headstock.report.comparisons import Comparisons
from headstock.report.groups import group_of

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.data.table import Table
    from headstock.finetune.prepare import Prepared
    from headstock.finetune.publish import TrainedHead
    from headstock.finetune.training import Trained
    from headstock.finetune.values import Values
    from headstock.plugin_host import PluginHost

Depth = Literal["none", "quick", "full"]

_MOST_GROUPS = 50


@dataclass(frozen=True, slots=True)
class Assessment:
    """How much of a report to make, and for which groups."""

    depth: Depth = "quick"
    """`none` compares with nothing, so it has no verdict; `full` adds the learning curve and trains on more rows."""
    group_by: str | None = None
    """Column whose values are the groups."""
    price: bool = True
    """Measure what the model adds to a server; costs at most some seconds."""
    splits: int = 0
    """Other splits of the same rows on which models that are cheap to train are trained and scored again."""

    def check(self, table: Table) -> None:
        """Raise `InvalidInput` before anything costs time if `table` cannot be assessed as asked."""
        if self.splits and self.depth == "none":
            raise InvalidInput("--splits is part of a report, and --report none makes none", fix="--report quick")
        if self.group_by is None:
            return
        values = {group_of(cell) for cell in table.column(self.group_by, "--group-by")}
        if len(values) > _MOST_GROUPS:
            raise InvalidInput(
                f"column {self.group_by!r} of {table.name!r} has {len(values)} values; expected at most {_MOST_GROUPS}",
                fix="--group-by with a column of fewer values",
            )


def assess(
    catalogue: Catalogue,
    host: PluginHost,
    prepared: Prepared,
    trained: Trained,
    head: TrainedHead,
    outputs: Values,
    asked: Assessment,
    core: Mapping[str, Any],
    name: str,
) -> dict[str, Any]:
    """What the report of the run for `name` says beyond its `core`, as JSON values.

    `outputs` [validation rows, ...] are the model's. For heads whose answers no baseline gives, `transfer` holds no
    verdict and says why.
    """
    report: dict[str, Any] = {"depth": asked.depth, "transfer": None, "peak_memory_bytes": peak_memory()}
    if asked.depth == "none" or not len(prepared.split.validation):
        return report
    return report | Comparisons(catalogue, host, prepared, trained, asked).report(outputs, head, core, name)
