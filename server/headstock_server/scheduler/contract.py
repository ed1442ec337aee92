"""What the scheduler needs of the thing that runs: a backbone, a group of heads, a model. The engine provides them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from headstock.preprocess import Row
from headstock_server.scheduler.policy import Budget

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Slots = npt.NDArray[np.intp]


class LaneKey(NamedTuple):
    """Rows with equal keys may share a pass. Preprocessing is part of the backbone's digest, and of the stem's."""

    backbone: str
    """Backbone digest, or the digest of a stem that several backbones have in common."""
    precision: str
    device: str
    adapters: str = ""
    """Digest of the graph that takes adapters of one rank and set of layers; empty for the plain backbone."""
    depth: str = ""
    """The last layer group of the stem, above which each backbone has a part of its own; empty for a whole backbone."""


class Backbone(Protocol):
    """One loaded backbone."""

    @property
    def lane(self) -> LaneKey:
        """Where its rows queue."""

    @property
    def budget(self) -> Budget:
        """The largest pass that pays, and how much padding is allowed in it."""

    @property
    def token_ns(self) -> float:
        """Nanoseconds per token as profiled at load: the first guess of the lane's rate."""

    @property
    def measured(self) -> Sequence[tuple[int, int, float]]:
        """Passes that were timed at load: rows, tokens of the longest row, nanoseconds."""

    def collate(self, rows: Sequence[Row]) -> Mapping[str, Array]:
        """Graph inputs of one pass, padded to the longest row."""

    def infer(self, feeds: Mapping[str, Array], taps: Sequence[str]) -> Mapping[str, Floats]:
        """The asked taps and no others, first axis the row. Raises whatever the runtime raises."""

    def positions(self, tap: str, rows: Sequence[Row]) -> Sequence[int] | None:
        """How many positions of a tap [n, positions, width] are each row's own; None where all rows have the same.

        What stands behind them in a pass is padding and belongs to nobody.
        """


class Adapting(Backbone, Protocol):
    """A backbone whose rows may each have an adapter; its lane names `adapters`."""

    def adapt(self, feeds: Mapping[str, Array], slots: Slots) -> Mapping[str, Array]:
        """Graph inputs with row i's adapter from slot `slots[i]`, 0 for none. Raises for a slot that is not there."""


class Stemmed(Backbone, Protocol):
    """A backbone on a stem that it shares; its lane is the stem's and names a `depth`."""

    def stem(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        """`feeds` with what the stem makes of them, first axis the row, for `infer` of every backbone of the lane."""


class HeadGroup(Protocol):
    """Heads that are computed in one call."""

    @property
    def tap(self) -> str:
        """The tap that all of them read."""

    def run(self, features: Floats, slots: Slots) -> Floats:
        """Outputs [n, out] of features [n, ..., width]; row i goes through the head in slot `slots[i]`.

        A row's bits must not depend on the other rows.
        """

    def run_alone(self, features: Floats, slot: int) -> Floats:
        """Outputs [out] or [positions, out] of one row [positions, width] of a tap whose rows differ in length."""


class SteppingGroup(HeadGroup, Protocol):
    """Heads whose rows run several times: generation writes a token with each."""

    def step(self, row: Row, outputs: Floats | list[Floats], slot: int) -> Row | None:
        """The row's next step, made of the row that ran and of its outputs [1, ...]; None if these are its answer.

        A row that steps keeps its place in line, and its request is answered when the last of its rows is done.
        """


class Model(Protocol):
    """A backbone with one head in its group."""

    @property
    def name(self) -> str:
        """Entry name."""

    @property
    def number(self) -> int:
        """Version."""

    @property
    def backbone(self) -> Backbone:
        """What its rows pass through."""

    @property
    def group(self) -> HeadGroup:
        """Where its head lives."""

    @property
    def slot(self) -> int:
        """Its head's place in the group."""


class AdaptedModel(Model, Protocol):
    """A model of a backbone that is `Adapting`."""

    @property
    def adapter_slot(self) -> int:
        """Its adapter's place among the backbone's adapters; 0 for none."""
