"""The whole plugin contract: seven hooks, and the three things a plugin can add: families, head types, objectives.

A distribution ships a static manifest `headstock.toml` beside its package's `__init__.py` (see
`headstock.plugin_host.manifest`) and one entry point in group `headstock` that names the package. Listings read
manifests and import nothing; the hooks below are functions in module `PACKAGE.plugin`, marked with `@hookimpl`, called
when something is built, pulled or trained.

This module imports neither torch nor numpy: annotations that name them are strings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pluggy

from headstock.digest import Digest
from headstock.records import BackboneIdentity, PaddingRule, Reads, Tap, TensorSpec

if TYPE_CHECKING:
    import click
    import numpy as np
    import torch

    from headstock.catalogue import Catalogue
    from headstock.data.inputs import RawInputs
    from headstock.data.table import Table
    from headstock.finetune.recipe import Recipe
    from headstock.plugin_host import PluginHost
    from headstock.preprocess import Preprocessor, PreprocessSpec, Row

API_VERSION = "1.0"
"""Version of this contract. Arguments are only ever added within a major version."""

ENTRY_POINT_GROUP = "headstock"

hookspec = pluggy.HookspecMarker("headstock")
hookimpl = pluggy.HookimplMarker("headstock")


# ---------------------------------------------------------------------------------------------- families
@dataclass(frozen=True, slots=True)
class SourceFiles:
    """A pulled source, local and verified: what a family loads from."""

    root: Path
    """Folder with the source's files."""
    config: Mapping[str, Any]
    """Parsed `config.json`, or empty."""
    spec: str
    """The source as the user wrote it: `hf:ORG/NAME@REV`, `path:DIR`, `package:MODULE`."""


@dataclass(frozen=True, slots=True)
class LayerGroup:
    """A slice of a backbone's parameters; groups are ordered from input to output."""

    name: str
    prefixes: tuple[str, ...]
    """Parameter-name prefixes that belong to the group."""


class BackboneFamily(ABC):
    """An architecture that loads pretrained weights. Stateless: one instance serves every backbone of the family."""

    name: ClassVar[str]
    """Short name, e.g. `bert`; also declared in the manifest."""
    modality: ClassVar[str]
    """`text`, `image`, `audio`, `tabular`."""
    padding: ClassVar[PaddingRule]

    @abstractmethod
    def recognises(self, files: SourceFiles) -> bool:
        """True if these files are a checkpoint of this family. Reads `files.config` and file names only."""

    @abstractmethod
    def load(self, files: SourceFiles) -> torch.nn.Module:
        """The headless network in eval mode, FP32, on the CPU, every weight loaded strictly.

        `forward(**inputs)` takes the tensors of `inputs` by name, batch first, and returns a dict from tap name to
        tensor, in the order of `taps`. Raises `InvalidInput` when a weight is missing or has the wrong shape.
        """

    @abstractmethod
    def architecture(self, files: SourceFiles) -> Mapping[str, Any]:
        """Settings that change the computed function, canonical: equal for equal functions, JSON values only."""

    @abstractmethod
    def taps(self, module: torch.nn.Module) -> Sequence[Tap]:
        """The named outputs with their shapes."""

    @abstractmethod
    def inputs(self, module: torch.nn.Module) -> Sequence[TensorSpec]:
        """The exported graph's inputs; -1 marks axes that vary."""

    @abstractmethod
    def preprocess(self, files: SourceFiles) -> PreprocessSpec:
        """The declarative preprocessing; names its files by role, e.g. `tokenizer`."""

    @abstractmethod
    def files(self, files: SourceFiles) -> Mapping[str, Path]:
        """Files to keep with the backbone, by role: at least `weights`; `config` and `tokenizer` where they exist."""

    @abstractmethod
    def layer_groups(self, module: torch.nn.Module) -> Sequence[LayerGroup]:
        """What freezing, unfreezing and layer-wise rates act on, from input to output."""

    def vocabulary(self, module: torch.nn.Module) -> Vocabulary | None:
        """What hiding words and guessing them needs to know; None for a network that reads no words both ways."""
        return None

    def retrained(self, architecture: Mapping[str, Any], weights: Digest) -> Mapping[str, Any]:
        """`architecture` of the same network once it has other weights, of that digest.

        Only a family whose architecture names something that lies in the weights has anything to change.
        """
        return architecture


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """How a text network knows its words."""

    embedding: str
    """Name of the parameter with a vector per token, [tokens, width]: guesses are told apart by it."""
    masks: tuple[str, ...]
    """What stands for a hidden token: the first of these that the tokenizer has."""


# ---------------------------------------------------------------------------------------------- head types
@dataclass(frozen=True, slots=True)
class Batch:
    """Training rows of a head: features from the tap, targets from the data."""

    features: torch.Tensor
    """[n, ..., width] FP32."""
    targets: torch.Tensor
    """As the head type's `collate` made them, first axis n."""
    mask: torch.Tensor | None = None
    """[n, positions] BOOL, True where a position is the row's own; None where rows do not differ in length."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure with its 95 % confidence interval."""

    name: str
    value: float
    low: float
    high: float
    method: str
    """How the interval was made: `wilson`, `bootstrap`..."""


@dataclass(frozen=True, slots=True)
class LinearForm:
    """A head that a head bank can stack: `row @ weight + bias`."""

    weight: np.ndarray
    """[width, out] FP32."""
    bias: np.ndarray
    """[out] FP32."""


@dataclass(frozen=True, slots=True)
class Targets:
    """A column of labels turned into numbers."""

    values: np.ndarray
    """First axis is the row."""
    labels: tuple[str, ...] = ()
    """Class names, in index order; empty where there are none."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What `build` and `postprocess` need to know and the data decides, e.g. the alphabet of transcripts."""

    def only(self, rows: Sequence[int]) -> Targets:
        """Targets of these rows, in this order."""
        return replace(self, values=self.values[list(rows)])


class HeadType(ABC):
    """A small task-specific function on a tap. Stateless."""

    name: ClassVar[str]
    """E.g. `text-classification`; also declared in the manifest."""
    task: ClassVar[str]
    """The field's word for it: `classification`, `embedding`, `regression`..."""
    modality: ClassVar[str]
    tap: ClassVar[str]
    """The default tap; `--tap` may name another of the backbone's."""
    columns: ClassVar[tuple[str, ...]]
    """Roles that the data must fill besides the input: `("label",)`."""
    optional: ClassVar[tuple[str, ...]] = ()
    """Those of `columns` whose cells may be empty."""
    reads: ClassVar[Reads] = "any"
    """What the raw input must be. `text` and `pair` give `align` and the postprocessing the text and where each
    position stands in it; `pair` takes two texts, the roles `question` and `context`."""
    per_position: ClassVar[bool] = False
    """True if the head answers for every position of a tap [n, positions, width] whose rows differ in length. Features
    of such a tap, and raw outputs, are lists with one array [positions, ...] per row."""
    primary_metric: ClassVar[str]
    """Name of the metric that early stopping and reports use; larger is better."""

    @abstractmethod
    def encode(self, columns: Mapping[str, Sequence[Any]], labels: Sequence[str] | None = None) -> Targets:
        """Targets of the data's rows; `labels` fixes the class order when the data continues an older head's.

        Raises `InvalidInput` for data that cannot train this head (one class, empty labels), naming the rows.
        """

    def align(self, targets: Targets, contexts: Sequence[Mapping[str, Any] | None]) -> Targets:
        """Targets once the preprocessor has said where each position stands; `contexts` are the rows' `extra`.

        Called once, before the split, if `reads` is not `any`. Raises `InvalidInput` naming the rows.
        """
        return targets

    @abstractmethod
    def build(self, width: int, targets: Targets, options: Mapping[str, Any]) -> torch.nn.Module:
        """A fresh head on a tap of `width`, initialised from torch's current generator; `targets` of training rows.

        If the module has a method `fit_input_statistics(features)`, the trainer calls it once, with all training
        features in the order of `targets` (of a head on single positions: all positions of all rows, [n, width]),
        before the first step. A module without trainable parameters has nothing else to learn from.
        """

    def collate(self, features: Any, targets: Targets) -> Batch:
        """One training batch of features [n, ..., width], or of a list of rows, and as many targets."""
        import torch

        return Batch(torch.from_numpy(features), torch.from_numpy(targets.values))

    @abstractmethod
    def loss(self, head: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Scalar training loss of one batch."""

    @abstractmethod
    def metrics(self, outputs: Any, targets: Targets, seed: int) -> Sequence[Metric]:
        """The field's metrics of raw head outputs against `targets`, the primary one first.

        `outputs` is [n, out] FP32, or a list of [positions, out] where the head is `per_position`.
        """

    @abstractmethod
    def linear_form(self, head: torch.nn.Module) -> LinearForm | None:
        """Weights that a head bank can stack, or None if the head is a graph of its own."""

    def graph_form(self, head: torch.nn.Module) -> bytes | None:
        """An ONNX file of a head without linear form: one input, the tap's features [n, ..., width], and one output,
        the raw outputs with first axis n, both FP32."""
        return None

    @abstractmethod
    def postprocess(self, targets: Targets, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """The declarative postprocessing spec, of a kind that `headstock.postprocess` knows."""

    def default_options(self) -> Mapping[str, Any]:
        """Options of `build` with their defaults; a recipe records all of them."""
        return {}

    def resolve_options(self, width: int, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """`options` with every default filled in that follows from the tap's `width`.

        A recipe records the result, and `build` and `postprocess` get it.
        """
        return options


# ---------------------------------------------------------------------------------------------- objectives
@dataclass(frozen=True, slots=True)
class Studied:
    """The backbone that an objective goes on with, as it is when the run begins."""

    family: BackboneFamily
    module: torch.nn.Module
    tap: Tap
    preprocessor: Preprocessor


@dataclass(frozen=True, slots=True)
class View:
    """What one step sees of some rows: hidden words, two crops of every picture."""

    rows: Sequence[Row]
    """What goes through the backbone; new rows, for those that were given are kept."""
    targets: Sequence[np.ndarray]
    """One array per row of `rows`; of a tap with positions [positions, ...], integers, -1 where nothing is asked."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a step is judged by, each [n] FP32 and per row of the view or sum of several; the loss is
    `losses.sum() / counts.sum()`, the figure `hits.sum() / counts.sum()`."""

    losses: torch.Tensor
    hits: torch.Tensor
    """Without gradient."""
    counts: torch.Tensor
    """How much was asked."""


class Objective(ABC):
    """Something to learn from rows without labels, by which a backbone goes on learning. Stateless.

    Its head is made for the run and thrown away after it; what is kept is the backbone.
    """

    name: ClassVar[str]
    """E.g. `mlm`; also declared in the manifest."""
    modality: ClassVar[str]
    tap: ClassVar[str]
    """The tap that its head stands on; one of `mean` and `pooled` also means the other."""
    figure: ClassVar[str]
    """Name of what `hits` count, e.g. `masked_accuracy`; larger is better."""

    @abstractmethod
    def default_options(self) -> Mapping[str, Any]:
        """Its options with their defaults; a recipe records all of them."""

    def pieces(self, studied: Studied, inputs: RawInputs) -> tuple[RawInputs, Sequence[int]]:
        """What is learned from, and the row of `inputs` that each piece is of: the rows themselves, unless they are
        longer than the backbone reads and can be cut into several."""
        return inputs, range(len(inputs))

    @abstractmethod
    def build(self, studied: Studied, options: Mapping[str, Any]) -> torch.nn.Module:
        """A fresh head, initialised from torch's current generator; what it borrows from the backbone it does not own.

        Raises `InvalidInput` for options out of range and `Unsupported` for a backbone that cannot learn this.
        """

    @abstractmethod
    def view(
        self, studied: Studied, rows: Sequence[Row], options: Mapping[str, Any], random: np.random.Generator
    ) -> View:
        """What a step sees of these rows; nothing random but from `random`."""

    @abstractmethod
    def terms(self, head: torch.nn.Module, batch: Batch, options: Mapping[str, Any]) -> Terms:
        """Losses of a view: features of its rows [n, ..., width], its targets stacked, or padded with -1."""


# ---------------------------------------------------------------------------------------------- other additions
@dataclass(frozen=True, slots=True)
class LicenceRecord:
    """Evidence about the licence of a weight tag. A plugin adds evidence; it never concludes."""

    subject: str
    """Source the statement is about: `hf:ORG/NAME`."""
    licence: str
    """SPDX expression."""
    evidence: str
    """URL or document that says so."""


class FinetuneCallback:
    """A tracker: told of every epoch, never able to change the run. Exceptions are reported and ignored."""

    def on_start(self, recipe: Mapping[str, Any]) -> None:
        """The run begins (or resumes) with this recipe."""

    def on_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        """One epoch ended; `figures` holds losses, metrics and seconds."""

    def on_end(self, identity: BackboneIdentity | None, report: Mapping[str, Any]) -> None:
        """The run ended with this report. A run that failed or was interrupted gives `failed`, the reason, alone."""


class RecipeCheck(ABC):
    """Says whether a recipe can be run, for a command of the plugin that writes recipes which no other command runs."""

    name: ClassVar[str]
    """`[objective] name` of its recipes; no objective of that name exists."""

    @abstractmethod
    def check(self, catalogue: Catalogue, host: PluginHost, recipe: Recipe, table: Table | None) -> None:
        """Raise a `HeadstockError` unless `recipe` can be run here and `table`, where one is given, is its data."""


class HookSpecs:
    """The hooks. Each returns a list; the host calls plugins one by one, so that one failure loses one plugin."""

    @hookspec
    def backbone_families(self) -> Sequence[BackboneFamily]:
        """Families that the manifest declares."""
        raise AssertionError("a hook specification is never called")

    @hookspec
    def head_types(self) -> Sequence[HeadType]:
        """Head types that the manifest declares."""
        raise AssertionError("a hook specification is never called")

    @hookspec
    def objectives(self) -> Sequence[Objective]:
        """Objectives that the manifest declares."""
        raise AssertionError("a hook specification is never called")

    @hookspec
    def licence_records(self) -> Sequence[LicenceRecord]:
        """Licence evidence for weight tags that the plugin knows."""
        raise AssertionError("a hook specification is never called")

    @hookspec
    def finetune_callbacks(self) -> Sequence[FinetuneCallback]:
        """Trackers to tell of every fine-tune."""
        raise AssertionError("a hook specification is never called")

    @hookspec
    def recipe_checks(self) -> Sequence[RecipeCheck]:
        """Checks of recipes that only a command of the plugin runs."""
        raise AssertionError("a hook specification is never called")

    @hookspec
    def cli_commands(self) -> Sequence[click.Command]:
        """Commands that the manifest declares; imported only when one of them is run."""
        raise AssertionError("a hook specification is never called")
