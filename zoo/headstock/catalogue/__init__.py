"""The catalogue of backbones and models.

Names are imported when first used, because `headstock.catalogue.listing` must not pay for SQLAlchemy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headstock.catalogue.views import AliasChange, Event, GcReport, Problem, VerifyReport

if TYPE_CHECKING:
    from headstock.catalogue.catalogue import Catalogue
    from headstock.catalogue.leases import Lease

__all__ = ["AliasChange", "Catalogue", "Event", "GcReport", "Lease", "Problem", "VerifyReport"]


def __getattr__(name: str) -> Any:
    if name == "Catalogue":
        from headstock.catalogue.catalogue import Catalogue

        return Catalogue
    if name == "Lease":
        from headstock.catalogue.leases import Lease

        return Lease
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
