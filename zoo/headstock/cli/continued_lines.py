"""What `headstock fine-tune` prints of a model that went on from another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def continued_lines(report: Mapping[str, Any]) -> list[str]:
    """Parent against child on the new rows and on the parent's; nothing for a model that began anew."""
    continued, forgetting = report.get("continued"), report.get("forgetting")
    if continued is None:
        return []
    new = ", ".join(continued["new_labels"])
    lines = [f"  from       {continued['parent']}" + (f", new labels: {new}" if new else "")]
    if continued["replayed"]:
        lines[0] += f", {continued['replayed']} of its rows replayed"
    lines.append(f"  new rows   {change_of(continued['validation'])}")
    if forgetting is not None:
        lines.append(f"  old rows   {change_of(forgetting)}")
    return lines


def change_of(found: Mapping[str, Any]) -> str:
    """`accuracy 0.900 -> 0.850 (-0.050 [-0.120, 0.010], n=100)`: the parent, then the child."""
    if found["before"] is None:
        return "none is left that did not train this model"
    low, high = found["interval"]
    return (
        f"{found['metric']} {found['before']:.3f} -> {found['after']:.3f} "
        f"({found['difference']:+.3f} [{low:.3f}, {high:.3f}], n={found['rows']})"
    )
