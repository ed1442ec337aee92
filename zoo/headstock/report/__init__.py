"""What a run's report says beyond its metrics: did transfer help, for whom, how sure is it, what did it cost.

Names are imported when first used: who asks the gate before a promotion must not pay for the statistics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headstock.report.gate import check_backbone, check_promotion

if TYPE_CHECKING:
    from headstock.report.assessment import Assessment, Depth, assess

__all__ = ["Assessment", "Depth", "assess", "check_backbone", "check_promotion"]


def __getattr__(name: str) -> Any:
    if name in ("Assessment", "Depth", "assess"):
        from headstock.report import assessment

        return getattr(assessment, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
