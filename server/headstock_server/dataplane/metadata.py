"""What a loaded model says about itself: tensors, versions, digests, licences and what they oblige to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headstock.digest import Digest
from headstock.preprocess.reading import raw_inputs
from headstock.records import Evidence, TensorSpec

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock_server.repository import LoadedModel
    from headstock_server.repository.ruling import Ruling

PLATFORM = "headstock_onnxruntime"
_NOASSERTION = "NOASSERTION"


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """One version of a model, for metadata and configuration."""

    name: str
    number: int
    versions: tuple[int, ...]
    """All versions of the entry, newest first."""
    raw_inputs: tuple[TensorSpec, ...]
    tensor_inputs: tuple[TensorSpec, ...]
    """May be sent, together, instead of the raw inputs; empty where answers point into a text."""
    outputs: tuple[TensorSpec, ...]
    backbone: Digest
    family: str
    head: Digest
    head_type: str
    evidence: tuple[Evidence, ...]
    """What each source declares about the licence of the backbone or the head; never a conclusion."""
    ruling: Ruling | None = None
    """The licence verdict and what this server does about it; None if it was told not to ask."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, where the model has them."""
        return next((spec.labels for spec in self.outputs if spec.labels), ())

    @property
    def declared(self) -> str:
        """What sources declare, all of it where they differ; `NOASSERTION` if none does."""
        return " / ".join(sorted({e.value for e in self.evidence} - {_NOASSERTION})) or _NOASSERTION


def describe(catalogue: Catalogue, model: LoadedModel, ruling: Ruling | None = None) -> ModelDescription:
    """Reads the catalogue, so it blocks."""
    preprocessor = model.backbone.preprocessor
    backbone = model.backbone.digest
    statements = [e for digest in (backbone, model.head_digest) for e in catalogue.evidence(digest)]
    return ModelDescription(
        name=model.name,
        number=model.number,
        versions=tuple(v.number for v in catalogue.versions(model.name)),
        raw_inputs=raw_inputs(preprocessor, model.reads),
        tensor_inputs=preprocessor.tensor_inputs if model.reads == "any" else (),
        outputs=model.outputs,
        backbone=backbone,
        family=model.backbone.identity.family,
        head=model.head_digest,
        head_type=model.head.type,
        evidence=tuple(e for e in statements if e.field == "licence"),
        ruling=ruling,
    )


def licence_parameters(ruling: Ruling | None) -> dict[str, str]:
    """The verdict and what it obliges to, by the names of parameters; lists are JSON. Empty where nobody asks."""
    if ruling is None:
        return {}
    duties = [{"duty": d.duty, "licence": d.licence, "payload": d.payload} for d in ruling.duties]
    return {
        "licence_verdict": ruling.value,
        "licence_reason": ruling.reason,
        "licence_proof": ruling.proof_id,
        "licence_concluded": ruling.concluded,
        "licence_display": json.dumps(ruling.display, ensure_ascii=False),
        "licence_duties": json.dumps(duties, ensure_ascii=False),
    }
