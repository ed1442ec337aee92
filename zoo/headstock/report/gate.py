"""The gate before an alias moves: a model that transfer made worse is not promoted by accident."""

from __future__ import annotations

from collections.abc import Mapping

from headstock.errors import FailedPrecondition, InvalidInput
from headstock.records import Version


def check_promotion(version: Version, *, force: bool = False, reason: str = "") -> str:
    """The reason to record with the promotion; tells where it was forced.

    Raises `FailedPrecondition` for a version whose report found negative transfer or a failed adaptation, unless
    `force`, which needs a `reason` (`InvalidInput` without one). Versions without a verdict pass.
    """
    if force and not reason.strip():
        raise InvalidInput("--force needs a reason, which the audit log keeps", fix="--force --reason TEXT")
    adapted = version.details.get("adaptation")
    if isinstance(adapted, Mapping) and adapted.get("verdict") == "adaptation failed":
        if force:
            return f"forced past failed adaptation: {reason}"
        why = "; ".join(map(str, adapted.get("reasons", ()))) or "no method helped"
        raise FailedPrecondition(
            f"the adaptation of {str(version)!r} to its unlabelled data failed: {why}",
            fix=f"headstock promote {version} --force --reason TEXT",
        )
    found = version.details.get("transfer")
    if not isinstance(found, Mapping) or found.get("verdict") != "negative":
        return reason
    if not force:
        figure = found.get("figure", "accuracy")
        raise FailedPrecondition(
            f"{str(version)!r} has negative transfer: its {figure} is {-found['gain']:.3f} below that of "
            f"{found['against']}, which learned from the target data alone "
            f"(95 % interval {found['low']:.3f} to {found['high']:.3f})",
            fix=f"headstock promote {version} --force --reason TEXT",
        )
    return f"forced past negative transfer: {reason}"
