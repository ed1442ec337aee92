"""What the catalogue knows, as plain frozen data: artefacts, edges, evidence, certificates, versions.

An *artefact* is anything named by digest. Its `identity` is a JSON object whose canonical digest **is** the artefact's
digest, so a record can be checked without trusting the row that holds it. What a digest covers:

- backbone: family, architecture, weights, preprocessing, taps, precision (not the ONNX file: a better export of the
  same function keeps the digest, and every head trained on it);
- head: backbone digest, head type, tap, parameters, postprocessing, the adapter it was trained under;
- adapter: backbone digest, rank, layers, parameters;
- model: backbone, adapter or none, head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from headstock.digest import Digest, digest_json
from headstock.evidence import Evidence as Evidence

Kind = Literal["backbone", "head", "adapter", "model", "dataset", "source", "plugin"]
"""Kinds of artefact. `source` names where something came from when its bytes are not in the store."""

EntryKind = Literal["backbone", "model"]
"""What an entry's versions point to."""

Relation = Literal[
    "finetuned_from",
    "head_on",
    "adapter_of",
    "quantised_from",
    "pruned_from",
    "merged_from",
    "initialised_from",
    "converted_from",
    "distilled_from",
    "trained_on_outputs_of",
    "trained_on",
    "evaluated_on",
    "uses_tokenizer_of",
    "built_by_plugin",
]
"""Kinds of lineage edge; each points from the newer artefact to the older one."""

RELATIONS: tuple[str, ...] = get_args(Relation)

PRODUCTION = "production"
"""The alias that an empty version selector means, when it is set."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A named tensor as the wire sees it."""

    name: str
    datatype: str
    """Open Inference Protocol name: FP32, INT64, BYTES..."""
    shape: tuple[int, ...]
    """-1 where the size varies; axis 0 is always the batch."""
    labels: tuple[str, ...] = ()
    """Class names of the last axis, where it has them."""


@dataclass(frozen=True, slots=True)
class Tap:
    """A named output of a backbone."""

    name: str
    """`tokens`, `cls`, `mean`, `pooled`, `feature_map`..."""
    shape: tuple[int, ...]
    """-1 where the size varies; axis 0 is the batch, the last axis the width: `(-1, -1, 384)`."""
    steps: tuple[tuple[int, int], ...] = ()
    """How a row's input steps become positions of a ragged tap: (kernel, stride) of each convolution over them, in
    order; empty where every input step has its position."""

    @property
    def width(self) -> int:
        """Size of the feature axis."""
        return self.shape[-1]

    @property
    def ragged(self) -> bool:
        """True for [n, positions, width] where rows differ in positions."""
        return len(self.shape) == 3 and self.shape[1] == -1

    def positions(self, steps: int) -> int:
        """Positions of a row with that many input steps; what stands behind them in a padded batch is nobody's."""
        for kernel, stride in self.steps:
            steps = (steps - kernel) // stride + 1
        return max(steps, 0)


Reads = Literal["any", "text", "pair"]
"""What a head needs of the raw input: `any` takes whatever the backbone reads; `text` needs the text itself, because
answers point into it; `pair` needs a question and the text that it is about."""

PaddingRule = Literal["mask", "zero-ok", "equal-length"]
"""How rows of different lengths may share a batch: padding is masked, is harmless, or is not allowed."""


@dataclass(frozen=True, slots=True)
class BackboneIdentity:
    """All that decides what a backbone computes; its digest names the backbone."""

    family: str
    architecture: Mapping[str, Any]
    """The family's own canonical settings: sizes and options that change the function, nothing else."""
    weights: Digest
    """`digest_tensors` of the module's state, buffers (BatchNorm statistics) included."""
    preprocess: Digest
    """Digest of the preprocessing spec, which itself names its files by digest."""
    taps: tuple[Tap, ...]
    inputs: tuple[TensorSpec, ...]
    """Inputs of the exported graph, in order."""
    padding: PaddingRule
    precision: str = "fp32"

    def to_json(self) -> dict[str, Any]:
        """The identity object; `artefact_of` takes its digest."""
        return {
            "kind": "backbone",
            "family": self.family,
            "architecture": dict(self.architecture),
            "weights": self.weights,
            "preprocess": self.preprocess,
            "taps": [_tap_to_json(t) for t in self.taps],
            "inputs": [{"name": i.name, "datatype": i.datatype, "shape": list(i.shape)} for i in self.inputs],
            "padding": self.padding,
            "precision": self.precision,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> BackboneIdentity:
        """Inverse of `to_json`."""
        return cls(
            family=value["family"],
            architecture=value["architecture"],
            weights=Digest(value["weights"]),
            preprocess=Digest(value["preprocess"]),
            taps=tuple(_tap_from_json(t) for t in value["taps"]),
            inputs=tuple(TensorSpec(i["name"], i["datatype"], tuple(i["shape"])) for i in value["inputs"]),
            padding=value["padding"],
            precision=value["precision"],
        )

    def tap(self, name: str) -> Tap:
        """The tap of that name; raises `NotFound` with the names that exist."""
        for tap in self.taps:
            if tap.name == name:
                return tap
        from headstock.errors import NotFound

        raise NotFound(
            f"this {self.family} backbone has no tap {name!r}; it has {[t.name for t in self.taps]}",
            fix="one of these, or no tap for the head type's own",
        )


def _tap_to_json(tap: Tap) -> dict[str, Any]:
    value: dict[str, Any] = {"name": tap.name, "shape": list(tap.shape)}
    return {**value, "steps": [list(step) for step in tap.steps]} if tap.steps else value


def _tap_from_json(value: Mapping[str, Any]) -> Tap:
    steps = tuple((int(kernel), int(stride)) for kernel, stride in value.get("steps", ()))
    return Tap(value["name"], tuple(value["shape"]), steps)


HeadForm = Literal["linear", "graph"]
"""`linear`: weight and bias that a head bank stacks. `graph`: an ONNX file run per group of rows."""


@dataclass(frozen=True, slots=True)
class HeadIdentity:
    """All that decides what a head computes; its digest names the head."""

    type: str
    """Head type, e.g. `text-classification`."""
    backbone: Digest
    """The backbone that the head was trained on, and the only one it may run on."""
    tap: str
    form: HeadForm
    parameters: Digest
    """Digest of the blob: safetensors with `weight` [width, out] and `bias` [out] FP32, or an ONNX file."""
    width: int
    """Features in: the tap's width."""
    out: int
    """Values per row before postprocessing."""
    postprocess: Mapping[str, Any]
    """Declarative: see `headstock.postprocess`."""
    adapter: Digest | None = None
    """The adapter under which the head was trained, without which it may not run; None for the plain backbone."""

    def to_json(self) -> dict[str, Any]:
        """The identity object; `artefact_of` takes its digest."""
        value = {"kind": "head", **asdict(self), "postprocess": dict(self.postprocess)}
        if self.adapter is None:
            del value["adapter"]
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> HeadIdentity:
        """Inverse of `to_json`."""
        return cls(**{k: v for k, v in value.items() if k != "kind"})


@dataclass(frozen=True, slots=True)
class AdapterIdentity:
    """All that decides how an adapter changes a backbone; its digest names the adapter."""

    backbone: Digest
    """The backbone that it was trained on, and the only one it may change."""
    rank: int
    targets: tuple[str, ...]
    """Linear layers that it changes, sorted: module names of the backbone's torch module."""
    parameters: Digest
    """Digest of the blob: safetensors with `NAME.A` [in, rank] and `NAME.B` [rank, out] FP32 per target, the scaling
    folded into B."""

    def to_json(self) -> dict[str, Any]:
        """The identity object; `artefact_of` takes its digest."""
        return {"kind": "adapter", **asdict(self), "targets": list(self.targets)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> AdapterIdentity:
        """Inverse of `to_json`."""
        return cls(Digest(value["backbone"]), value["rank"], tuple(value["targets"]), Digest(value["parameters"]))


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """A servable composition."""

    backbone: Digest
    head: Digest
    adapter: Digest | None = None

    def to_json(self) -> dict[str, Any]:
        """The identity object; `artefact_of` takes its digest."""
        return {"kind": "model", "backbone": self.backbone, "adapter": self.adapter, "head": self.head}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ModelIdentity:
        """Inverse of `to_json`."""
        return cls(value["backbone"], value["head"], value["adapter"])


@dataclass(frozen=True, slots=True)
class Artefact:
    """Something named by digest, with the blobs that belong to it."""

    digest: Digest
    kind: Kind
    identity: Mapping[str, Any]
    """A JSON object with `digest_json(identity) == digest`."""
    files: Mapping[str, Digest] = field(default_factory=dict)
    """Role to blob: backbones have `graph`, `weights`, `config`, `preprocess`, `tokenizer`, `certificate`, and
    `licence`, `card` where the source had them; heads have `parameters`; adapters `parameters` and
    `graph`; models have `recipe` and `report`."""


def artefact_of(kind: Kind, identity: Mapping[str, Any], files: Mapping[str, Digest] | None = None) -> Artefact:
    """An artefact whose digest is taken of its identity."""
    return Artefact(digest_json(identity), kind, identity, files or {})


@dataclass(frozen=True, slots=True)
class Edge:
    """One step of lineage, from the newer artefact to the older."""

    child: Digest
    relation: Relation
    parent: Digest
    note: str = ""


FROM_RANDOM = "architecture and preprocessing only: trained from random weights"
"""Note of a `finetuned_from` along which no weight came down."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """The isolation certificate: a row's answer alone against the same row in company, measured at admission."""

    backbone: Digest
    tolerance: float
    """Largest difference that is allowed, as `measured` is counted; 0.0 demands bit-equality."""
    measured: float
    """Largest difference seen over all taps, batch sizes, slots and neighbours, over the row's scale (its largest
    value on that tap, at least 1)."""
    shared: bool
    """True if `measured <= tolerance`: the backbone may serve shared lanes."""
    provider: str
    """Execution provider that was measured, e.g. `CPUExecutionProvider`."""
    detail: Mapping[str, Any]
    """Batch sizes, lengths, neighbours, versions, parity against torch per tap; `rows`, see there."""

    @property
    def rows(self) -> int:
        """Rows up to which batches were measured; a lane holds no more."""
        return int(self.detail.get("rows", 1))


@dataclass(frozen=True, slots=True)
class Version:
    """One immutable version of an entry."""

    name: str
    number: int
    """Counts from 1 and is never reused."""
    kind: EntryKind
    subject: Digest
    """Digest of the backbone or model artefact."""
    created_at: str
    """UTC, ISO 8601, seconds."""
    details: Mapping[str, Any]
    """What `show` prints: source and commit of a pull; head type, metrics and data set of a fine-tune."""

    def __str__(self) -> str:
        return f"{self.name}:{self.number}"


@dataclass(frozen=True, slots=True)
class Publication:
    """Everything that one pull or fine-tune adds, written in one transaction after its blobs are in the store."""

    name: str
    kind: EntryKind
    subject: Digest
    artefacts: Sequence[Artefact]
    edges: Sequence[Edge] = ()
    evidence: Sequence[Evidence] = ()
    certificates: Sequence[Certificate] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
