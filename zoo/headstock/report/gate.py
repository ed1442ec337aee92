"""The gate before an alias moves: a model that transfer made worse is not promoted by accident."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from headstock.digest import Digest
from headstock.errors import FailedPrecondition, InvalidInput
from headstock.records import Version
from headstock.report.probed import probed_worse

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue

_FIX = "headstock promote {} --force --reason TEXT"


def check_promotion(catalogue: Catalogue, version: Version, *, force: bool = False, reason: str = "") -> str:
    """The reason to record with the promotion; tells where it was forced.

    Raises `FailedPrecondition` for a version whose report found negative transfer or a failed adaptation, and for a
    backbone that a probe or an alignment found worse after it had gone on learning, or what stands on one, unless
    `force`, which needs a `reason` (`InvalidInput` without one). What nothing is known of passes.
    """
    if force and not reason.strip():
        raise InvalidInput("--force needs a reason, which the audit log keeps", fix="--force --reason TEXT")
    found = _failed_adaptation(version) or _negative_transfer(version) or _worse_backbone(catalogue, version)
    if found is None:
        return reason
    what, said = found
    if not force:
        raise FailedPrecondition(said, fix=_FIX.format(version))
    return f"forced past {what}: {reason}"


def check_backbone(catalogue: Catalogue, backbone: Digest, name: str) -> None:
    """Raise `FailedPrecondition` if no model on `backbone` passes `check_promotion`: known before it is trained."""
    if (worse := probed_worse(catalogue, backbone)) is not None:
        raise FailedPrecondition(
            f"no model on backbone {name!r} is promoted without force: it, or one that it was made from, went on "
            f"learning and is worse on {worse.locator}: {worse.raw}",
            fix="leave --promote out, then headstock promote NAME --force --reason TEXT",
        )


def _failed_adaptation(version: Version) -> tuple[str, str] | None:
    adapted = version.details.get("adaptation")
    if not isinstance(adapted, Mapping) or adapted.get("verdict") != "adaptation failed":
        return None
    why = "; ".join(map(str, adapted.get("reasons", ()))) or "no method helped"
    return "failed adaptation", f"the adaptation of {str(version)!r} to its unlabelled data failed: {why}"


def _negative_transfer(version: Version) -> tuple[str, str] | None:
    found = version.details.get("transfer")
    if not isinstance(found, Mapping) or found.get("verdict") != "negative":
        return None
    said = (
        f"{str(version)!r} has negative transfer: its {found.get('figure', 'accuracy')} is {-found['gain']:.3f} below "
        f"that of {found['against']}, which learned from the target data alone "
        f"(95 % interval {found['low']:.3f} to {found['high']:.3f})"
    )
    return "negative transfer", said


def _worse_backbone(catalogue: Catalogue, version: Version) -> tuple[str, str] | None:
    worse = probed_worse(catalogue, _backbone(catalogue, version))
    if worse is None:
        return None
    whose = "it" if worse.subject == version.subject else "its backbone, or one that this was made from,"
    said = f"{whose} went on learning and is worse on {worse.locator}: {worse.raw}"
    return "negative transfer", f"{str(version)!r} has negative transfer: {said}"


def _backbone(catalogue: Catalogue, version: Version) -> Digest:
    if version.kind == "backbone":
        return version.subject
    return Digest(catalogue.artefact(version.subject).identity["backbone"])
