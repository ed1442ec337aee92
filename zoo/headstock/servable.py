"""What a server needs of one model, read from the catalogue and checked against its digests; no torch, no plugin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from headstock.digest import Digest, digest_file, short
from headstock.errors import Corrupt, DigestMismatch, FailedPrecondition, NotFound
from headstock.preprocess import Preprocessor, PreprocessSpec, open_preprocessor
from headstock.providers import PROVIDER
from headstock.records import (
    AdapterIdentity,
    Artefact,
    BackboneIdentity,
    Certificate,
    HeadIdentity,
    ModelIdentity,
    Version,
)
from headstock.stem.record import stored_stem

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue

_NEEDED = ("graph", "preprocess")


@dataclass(frozen=True, slots=True)
class ServableStem:
    """A backbone's lower part, which others share, and its own upper part, local and verified."""

    digest: Digest
    """Names the stem: rows of all backbones that have it may share its passes."""
    depth: str
    """The last layer group in it."""
    graph: Path
    upper: Path
    provider: str
    """Execution provider on which both parts together were seen to be the whole, bit by bit."""


@dataclass(frozen=True, slots=True)
class ServableBackbone:
    """A backbone's graph and preprocessing, local and verified."""

    digest: Digest
    identity: BackboneIdentity
    spec: PreprocessSpec
    files: Mapping[str, Path]
    """Role to path in the store: `graph` and the files that the preprocessing spec names."""
    certificate: Certificate | None
    stem: ServableStem | None = None
    """The two parts that it may be run as; None if it is run whole."""
    """That of the CPU, on which features for training are made."""
    elsewhere: Mapping[str, Certificate] = field(default_factory=dict)
    """Those of other execution providers, by provider."""

    def certificate_on(self, provider: str) -> Certificate | None:
        """The catalogue's isolation certificate for one execution provider."""
        if self.certificate is not None and self.certificate.provider == provider:
            return self.certificate
        return self.elsewhere.get(provider)

    @property
    def graph(self) -> Path:
        """The ONNX file."""
        return self.files["graph"]

    def open_preprocessor(self) -> Preprocessor:
        """A fresh preprocessor."""
        return open_preprocessor(self.spec, self.files)

    def require_shared(self) -> None:
        """Raise `FailedPrecondition` unless the isolation certificate admits this backbone to shared batches."""
        if self.certificate is None or not self.certificate.shared:
            seen = (
                "has no isolation certificate"
                if self.certificate is None
                else (
                    f"moved a row by {self.certificate.measured:.3g} when its neighbours changed "
                    f"(allowed {self.certificate.tolerance:.3g})"
                )
            )
            raise FailedPrecondition(
                f"backbone {short(self.digest)} may not serve shared batches: it {seen}",
                fix="headstock pull the backbone again with this version",
            )


@dataclass(frozen=True, slots=True)
class ServableAdapter:
    """An adapter's parameters and the graph that takes them, local and verified."""

    digest: Digest
    identity: AdapterIdentity
    parameters: Path
    graph: Path
    graph_digest: Digest
    """Equal for adapters that may share a pass."""
    certificate: Certificate | None = None
    """The isolation certificate of that graph, with adapters mixed, on the CPU."""


@dataclass(frozen=True, slots=True)
class ServableModel:
    """One version of a model: its backbone, its adapter if it has one, and its head."""

    version: Version
    identity: ModelIdentity
    backbone: ServableBackbone
    head: HeadIdentity
    head_digest: Digest
    parameters: Path
    adapter: ServableAdapter | None = None


def load_backbone(catalogue: Catalogue, digest: Digest) -> ServableBackbone:
    """The backbone of that digest, every file it needs hashed; raises `NotFound` or `Corrupt`."""
    artefact = catalogue.artefact(digest)
    if artefact.kind != "backbone":
        raise NotFound(f"{short(digest)} is a {artefact.kind}, not a backbone")
    spec = PreprocessSpec.from_json(catalogue.store.read_json(artefact.files["preprocess"]))
    blobs = {role: artefact.files[role] for role in _NEEDED} | dict(spec.files)
    what = f"of backbone {short(digest)}"
    certificates = {p: c for p in PROVIDER.values() if (c := catalogue.certificate(digest, p)) is not None}
    return ServableBackbone(
        digest=digest,
        identity=BackboneIdentity.from_json(artefact.identity),
        spec=spec,
        files={role: checked_path(catalogue, blob, f"{role} {what}") for role, blob in blobs.items()},
        certificate=certificates.pop(PROVIDER["cpu"], None),
        elsewhere=certificates,
        stem=_stem(catalogue, artefact, what),
    )


def _stem(catalogue: Catalogue, artefact: Artefact, what: str) -> ServableStem | None:
    found = stored_stem(catalogue, artefact)
    if found is None:
        return None
    graph, upper = (
        checked_path(catalogue, blob, f"{part} {what}")
        for part, blob in (("stem", found.graph), ("upper part", found.upper))
    )
    return ServableStem(found.cut.stem, found.cut.frozen, graph, upper, found.cut.provider)


def load_model(catalogue: Catalogue, version: Version, backbone: ServableBackbone | None = None) -> ServableModel:
    """The model that `version` points to; pass its `backbone` when it is loaded already.

    Raises `DigestMismatch` if the head or the adapter was trained on another backbone than the composition names, or
    the head under another adapter.
    """
    if version.kind != "model":
        raise FailedPrecondition(
            f"{version} is a backbone and answers nothing by itself",
            fix=f"headstock fine-tune --backbone {version.name} --head TYPE --data FILE --name NAME",
        )
    identity = ModelIdentity.from_json(catalogue.artefact(version.subject).identity)
    artefact = catalogue.artefact(identity.head)
    head = HeadIdentity.from_json(artefact.identity)
    if head.backbone != identity.backbone:
        raise DigestMismatch(
            f"the head of {version} was trained on backbone {head.backbone} but the model names {identity.backbone}; "
            "a head runs only on the backbone it was trained on",
            fix="fine-tune the head again on the backbone you want",
        )
    check_adapter_of_head(head, identity.adapter, str(version))
    if backbone is None or backbone.digest != identity.backbone:
        backbone = load_backbone(catalogue, identity.backbone)
    parameters = checked_path(catalogue, head.parameters, f"head of {version}")
    adapter = None if identity.adapter is None else load_adapter(catalogue, identity.adapter, backbone.digest)
    return ServableModel(version, identity, backbone, head, identity.head, parameters, adapter)


def load_adapter(catalogue: Catalogue, digest: Digest, backbone: Digest) -> ServableAdapter:
    """The adapter of that digest, its files hashed.

    Raises `DigestMismatch` if it was trained on another backbone, `NotFound` or `Corrupt`.
    """
    artefact = catalogue.artefact(digest)
    if artefact.kind != "adapter":
        raise NotFound(f"{short(digest)} is a {artefact.kind}, not an adapter")
    identity = AdapterIdentity.from_json(artefact.identity)
    if identity.backbone != backbone:
        raise DigestMismatch(
            f"adapter {short(digest)} was trained on backbone {identity.backbone} but would change {backbone}; "
            "an adapter changes only the backbone it was trained on",
            fix="fine-tune the adapter again on the backbone you want",
        )
    return servable_adapter(catalogue, artefact)


def servable_adapter(catalogue: Catalogue, artefact: Artefact) -> ServableAdapter:
    """An adapter whose blobs are stored, whether it is published or not; raises `Corrupt`."""
    digest, identity = artefact.digest, AdapterIdentity.from_json(artefact.identity)
    if "graph" not in artefact.files:
        raise Corrupt(f"adapter {short(digest)} has no graph", fix="headstock verify, then fine-tune it again")
    what = f"of adapter {short(digest)}"
    return ServableAdapter(
        digest,
        identity,
        checked_path(catalogue, identity.parameters, f"parameters {what}"),
        checked_path(catalogue, artefact.files["graph"], f"graph {what}"),
        artefact.files["graph"],
        _certificate(catalogue, artefact),
    )


def _certificate(catalogue: Catalogue, artefact: Artefact) -> Certificate | None:
    if "certificate" not in artefact.files:
        return None
    return Certificate(**catalogue.store.read_json(artefact.files["certificate"]))


def check_adapter_of_head(head: HeadIdentity, adapter: Digest | None, what: str) -> None:
    """Raise `DigestMismatch` unless the head was trained under that adapter, or under none if there is none."""
    if head.adapter != adapter:
        raise DigestMismatch(
            f"the head of {what} was trained under adapter {head.adapter or 'none'} but the model names "
            f"{adapter or 'none'}; a head runs only on the features it was trained on",
            fix="fine-tune the head again with the adapter you want",
        )


def load_linear(path: Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Weight [width, out] and bias [out] of a linear head's parameter file."""
    from safetensors.numpy import load_file

    tensors = load_file(path)
    return tensors["weight"], tensors["bias"]


def checked_path(catalogue: Catalogue, blob: Digest, what: str) -> Path:
    """The blob's path after hashing its bytes; raises `Corrupt` naming `what`."""
    path = catalogue.store.path(blob)
    if not path.is_file():
        raise Corrupt(f"{what}: blob {short(blob)} is missing from the store", fix="headstock verify")
    found = digest_file(path)
    if found != blob:
        raise Corrupt(
            f"{what}: blob {short(blob)} holds other bytes (sha256 {short(found)})",
            fix="headstock verify --repair, then pull or fine-tune it again",
        )
    return path
