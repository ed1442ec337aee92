"""The recipe: everything that decides a fine-tune, with no hidden defaults."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headstock.data.split_choice import SPLIT_CHOICES, SPLIT_KINDS, SplitChoice
from headstock.digest import Digest, digest_json
from headstock.errors import InvalidInput
from headstock.finetune.strategy import Phase, Strategy

FORMAT: Literal[1] = 1
"""Version of the recipe's own layout."""

DigestText = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Scalar = bool | int | float | str


class _Section(BaseModel):
    # Every field is required: a default that a recipe does not spell could change under it.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class BackboneChoice(_Section):
    """The frozen network that the head stands on."""

    name: str
    """Entry it was pulled as; a help for the reader, the digest decides."""
    digest: DigestText


class HeadChoice(_Section):
    """What is trained."""

    type: str
    """Head type, e.g. `text-classification`."""
    tap: str
    options: dict[str, Scalar]
    """All options of the head type."""


class DataChoice(_Section):
    """What it is trained on."""

    name: str
    """Name of the file or folder, without what lies above it."""
    sha256: DigestText
    """Of the file's bytes; with the digests of the files that an image or audio column names, where there is one."""
    columns: dict[str, str]
    """Role to column: `{"text": "message", "label": "intent"}`."""


class OptimizerChoice(_Section):
    """How weights move."""

    name: Literal["adamw"]
    weight_decay: float = Field(ge=0)
    beta1: float = Field(ge=0, lt=1)
    beta2: float = Field(ge=0, lt=1)
    epsilon: float = Field(gt=0)
    batch_size: int = Field(ge=1)

    @classmethod
    def adamw(cls, *, weight_decay: float, batch_size: int) -> Self:
        """AdamW with the moments that its paper proposes (Loshchilov and Hutter, 2019)."""
        return cls(name="adamw", weight_decay=weight_decay, beta1=0.9, beta2=0.999, epsilon=1e-8, batch_size=batch_size)


class Stopping(_Section):
    """When to stop early; the best weights are kept either way."""

    patience: int = Field(ge=0)
    """Epochs without a better primary metric before a phase ends; 0 never ends one early."""
    min_delta: float = Field(ge=0)
    """Smallest gain that counts as better."""


class Features(_Section):
    """Where the backbone's outputs come from."""

    cache: bool
    """True: the backbone sees each sample once, ever. False: it runs again every epoch."""


class ReplayChoice(_Section):
    """Rows of what the parent was trained on, mixed into the training rows."""

    name: str
    """Name of the parent's file or folder."""
    sha256: DigestText
    """Of the parent's data, as its own recipe has it."""
    rows: int = Field(ge=0)
    """Training rows of the parent that are seen again; 0 only measures what was forgotten."""


class ParentChoice(_Section):
    """The model that a run goes on from."""

    name: str
    """Its version, `tickets:1`; a help for the reader, the digest decides."""
    digest: DigestText
    """Of the model: its backbone, its adapter or none, and its head."""
    replay: ReplayChoice | None = None
    """Left out: nothing of the parent's data is used."""


class TeacherChoice(_Section):
    """The model whose answers are learned beside the labels (Hinton et al. 2015)."""

    name: str
    """Its version; a help for the reader, the digest decides."""
    digest: DigestText
    """Of the model."""
    temperature: float = Field(gt=0)
    """Divides the raw outputs of both: the higher, the more the wrong answers' order counts."""
    alpha: float = Field(ge=0, le=1)
    """Weight of the teacher's answers in the loss; the labels have the rest."""


class ComputeChoice(_Section):
    """What the backbone is trained on, and how exactly: each of these may change a result's last bits."""

    device: Literal["cpu", "cuda"]
    precision: Literal["fp32", "bf16"]
    """Of the products in training; weights, gradients and everything that is judged stay FP32."""
    compiler: str
    """Backend of `torch.compile` for the training steps; empty compiles nothing."""
    processes: int = Field(ge=1)
    """Each takes its part of every batch."""


class AdaptationChoice(_Section):
    """What `headstock adapt` trains for: unlabelled data of another kind, and the methods that are compared."""

    target: DataChoice
    """The unlabelled data; no label of it is ever read."""
    methods: tuple[str, ...] = Field(min_length=1)
    runs: int = Field(ge=1)
    """Runs of each method; their seeds are the recipe's and those after it."""
    hidden: int = Field(ge=1)
    """Width of both hidden layers of the head."""
    strength: float = Field(ge=0)
    """Weight of the adaptation loss."""


class ObjectiveChoice(_Section):
    """What a backbone goes on learning from rows without labels."""

    name: str
    """E.g. `mlm`; it stands in `head.type` too, as its head is what is trained beside the backbone."""
    options: dict[str, Scalar]
    """All options of the objective."""


class Recipe(_Section):
    """All that decides a fine-tune; its digest names the run."""

    format: Literal[1]
    seed: int = Field(ge=0)
    """Initial weights, row order and the intervals of the metrics."""
    backbone: BackboneChoice
    head: HeadChoice
    data: DataChoice
    split: SplitChoice
    strategy: Strategy
    optimizer: OptimizerChoice
    stopping: Stopping
    features: Features
    parent: ParentChoice | None = None
    """Left out: the head begins anew."""
    teacher: TeacherChoice | None = None
    """Left out: the labels alone are learned."""
    compute: ComputeChoice | None = None
    """Left out: one process on the CPU, FP32, nothing compiled."""
    adaptation: AdaptationChoice | None = None
    """Left out: the recipe is one of `headstock fine-tune`."""
    objective: ObjectiveChoice | None = None
    """Left out: the head is what is wanted. With it the head is thrown away, and the backbone is what comes of it."""

    def to_json(self) -> dict[str, Any]:
        """The object that `digest` is taken of; a section that is left out is no part of it."""
        return self.model_dump(mode="json", exclude_none=True)

    @property
    def digest(self) -> Digest:
        """Names the run folder; equal recipes give equal heads."""
        return digest_json(self.to_json())

    def to_toml(self) -> str:
        """The recipe as a person edits it; `from_toml` reads it back."""
        import tomli_w

        return tomli_w.dumps(self.to_json())

    def with_data(self, name: str, sha256: str) -> Recipe:
        """The same recipe for another file with the same columns."""
        return self.model_copy(update={"data": self.data.model_copy(update={"name": name, "sha256": sha256})})

    @classmethod
    def from_json(cls, value: Mapping[str, Any], source: str = "recipe") -> Recipe:
        """Validate; raises `InvalidInput` naming `source`, the key and, for a typo, the nearest key."""
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise _explain(error, source) from error

    @classmethod
    def from_toml(cls, path: Path) -> Recipe:
        """Read a recipe file; raises `InvalidInput`."""
        try:
            value = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InvalidInput(
                f"cannot read the recipe {path.name!r}: {error.strerror}",
                fix="the path of a recipe that exists, or the NAME[:V] of a model",
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidInput(
                f"{path.name!r} is not TOML: {error}", fix="headstock recipe init writes one that is"
            ) from error
        return cls.from_json(value, path.name)


# Section name in a recipe -> the class whose keys are allowed there.
_SECTIONS: dict[str, tuple[type[BaseModel], ...]] = {
    "": (Recipe,),
    "backbone": (BackboneChoice,),
    "head": (HeadChoice,),
    "data": (DataChoice,),
    "split": SPLIT_CHOICES,
    "strategy": (Strategy,),
    "phases": (Phase,),
    "optimizer": (OptimizerChoice,),
    "stopping": (Stopping,),
    "features": (Features,),
    "parent": (ParentChoice,),
    "replay": (ReplayChoice,),
    "teacher": (TeacherChoice,),
    "compute": (ComputeChoice,),
    "objective": (ObjectiveChoice,),
}


def _explain(error: ValidationError, source: str) -> InvalidInput:
    lines = []
    fix = None
    for problem in error.errors(include_url=False):
        # A discriminated union puts its tag into the location; the file has no such level.
        place = [str(p) for p in problem["loc"] if p not in SPLIT_KINDS or p == problem["loc"][-1]]
        key = ".".join(place)
        if problem["type"] == "extra_forbidden":
            section = next((p for p in reversed(place[:-1]) if p in _SECTIONS), "")
            known = [name for model in _SECTIONS[section] for name in model.model_fields]
            close = get_close_matches(place[-1], known, n=1)
            expected = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(known)}"
            lines.append(f"unknown key {key!r}; {expected}")
            fix = fix or (f"write {close[0]} instead of {place[-1]}" if close else None)
        elif problem["type"] == "missing":
            lines.append(f"key {key!r} is missing; a recipe spells every setting")
        else:
            lines.append(f"{key}: {problem['msg']}, got {problem['input']!r}")
    return InvalidInput(f"{source}: " + "; ".join(lines), fix=fix or "headstock recipe init writes one with every key")
