"""What a plugin supplies so that the contract kit can try it: a tiny checkpoint per family or objective, rows per head.

They stand in module `PACKAGE.checks`, which nothing but the kit imports:

from headstock.testing import FamilyCase, HeadCase

def check_cases() -> list[FamilyCase | HeadCase]:
    return [FamilyCase("acme", files=make_tiny_acme), HeadCase("acme-tagging")]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstock.testing.results import Broken

if TYPE_CHECKING:
    import numpy as np

    from headstock.plugin_host import Manifest
    from headstock.preprocess import Preprocessor

MODULE, FUNCTION = "checks", "check_cases"


@dataclass(frozen=True, slots=True)
class HeadRows:
    """Data of a head type, as a tap and a table would give it."""

    features: Any
    """[n, ..., width] FP32, or a list with one array [positions, width] per row where the head is `per_position`."""
    columns: Mapping[str, Sequence[Any]]
    """Values by role, n each."""
    contexts: Sequence[Mapping[str, Any]] | None = None
    """What the preprocessor says of each row, where the head `reads` text: `text`, `offsets`, `words`."""


@dataclass(frozen=True, slots=True)
class FamilyCase:
    """A family that the manifest declares, with a checkpoint to try it on."""

    family: str
    files: Callable[[Path], object]
    """Writes a tiny checkpoint into the folder, as `headstock pull path:DIR` takes it. Random weights are enough, but
    not all zeros; the same call writes the same bytes."""
    variant: str = ""
    """What is special about this checkpoint, where a family has several cases."""


@dataclass(frozen=True, slots=True)
class HeadCase:
    """A head type that the manifest declares, with data that it can learn."""

    head: str
    rows: Callable[[np.random.Generator], HeadRows] | None = None
    """Data that the head can learn in 60 steps. Default: data for the head type's task; for a task that the kit does
    not know, 96 rows [96, width] of three separable classes, whose names are in every column."""
    refused: Mapping[str, Sequence[Any]] | None = None
    """Columns that `encode` must refuse, by role. Default: eight rows that can train nothing."""
    width: int = 8
    """Size of the tap's feature axis."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options that differ from the head type's defaults."""
    variant: str = ""
    """What is special about this case, where a head type has several."""


@dataclass(frozen=True, slots=True)
class ObjectiveCase:
    """An objective that the manifest declares, with a backbone that learns by it."""

    objective: str
    family: str
    """Of the backbone; any that is installed."""
    files: Callable[[Path], object]
    """Writes a tiny checkpoint into the folder, as that of a `FamilyCase`."""
    rows: Callable[[Preprocessor], Sequence[Any]] | None = None
    """Raw inputs for that backbone, ten or more, by which the loss can fall in eight epochs. Default: for its kind of
    preprocessing."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options that differ from the objective's defaults."""
    refused: Mapping[str, Any] | None = None
    """Options that `build` must refuse, among the others; None: there are none."""
    variant: str = ""
    """What is special about this case, where an objective has several."""


Case = FamilyCase | HeadCase | ObjectiveCase


def read_cases(manifest: Manifest) -> list[Case]:
    """The plugin's cases; head types that it has none for get the default one. Raises `Broken`."""
    cases = _declared(manifest)
    families, heads = [f.name for f in manifest.families], [h.name for h in manifest.heads]
    objectives = [o.name for o in manifest.objectives]
    for case in cases:
        if isinstance(case, FamilyCase) and case.family not in families:
            raise Broken(f"{FUNCTION}() has a case of family {case.family!r}; the manifest declares {families}")
        if isinstance(case, HeadCase) and case.head not in heads:
            raise Broken(f"{FUNCTION}() has a case of head type {case.head!r}; the manifest declares {heads}")
        if isinstance(case, ObjectiveCase) and case.objective not in objectives:
            raise Broken(f"{FUNCTION}() has a case of objective {case.objective!r}; the manifest declares {objectives}")
    with_case = [case.head for case in cases if isinstance(case, HeadCase)]
    return [*cases, *(HeadCase(name) for name in heads if name not in with_case)]


def check_all_tried(manifest: Manifest, cases: Sequence[Case]) -> None:
    """Raise `Broken` for a family without a case."""
    tried = [case.family for case in cases if isinstance(case, FamilyCase)]
    _require_none(manifest, "FamilyCase", [family.name for family in manifest.families if family.name not in tried])


def check_objectives_tried(manifest: Manifest, cases: Sequence[Case]) -> None:
    """Raise `Broken` for an objective without a case."""
    tried = [case.objective for case in cases if isinstance(case, ObjectiveCase)]
    _require_none(manifest, "ObjectiveCase", [entry.name for entry in manifest.objectives if entry.name not in tried])


def _require_none(manifest: Manifest, kind: str, untried: Sequence[str]) -> None:
    if untried:
        raise Broken(f"{manifest.package}.{MODULE}.{FUNCTION}() has no {kind} for {untried}: nothing can be tried")


def _declared(manifest: Manifest) -> list[Case]:
    name = f"{manifest.package}.{MODULE}"
    if find_spec(name) is None:
        return []
    function = getattr(import_module(name), FUNCTION, None)
    if not callable(function):
        raise Broken(f"{name} has no function {FUNCTION}()")
    cases = function()
    if not isinstance(cases, list) or not all(isinstance(case, Case) for case in cases):
        raise Broken(
            f"{name}.{FUNCTION}() returned {cases!r:.80}; expected a list of FamilyCase, HeadCase and ObjectiveCase"
        )
    return cases
