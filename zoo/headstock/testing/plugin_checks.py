"""The whole contract kit on one installed plugin: its manifest, its imports, every family, head type and objective."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headstock.errors import HeadstockError
from headstock.hookspecs import SourceFiles
from headstock.plugin_host import Manifest, PluginHost, PluginState, State
from headstock.testing.cases import (
    Case,
    FamilyCase,
    HeadCase,
    ObjectiveCase,
    check_all_tried,
    check_objectives_tried,
    read_cases,
)
from headstock.testing.family_checks import FAMILY_CHECKS, check_family
from headstock.testing.head_checks import HEAD_CHECKS, check_head_type
from headstock.testing.import_cost import check_import_cost
from headstock.testing.manifest_checks import check_manifest, check_names
from headstock.testing.objective_checks import OBJECTIVE_CHECKS, check_objective
from headstock.testing.patches import check_patches
from headstock.testing.results import Result, Run, holds, merged
from headstock.testing.served_checks import SERVED_CHECKS, check_served

PLUGIN = "plugin"
PLUGIN_CHECKS = ("loads", "manifest", "names", "import cost", "cases", "every family is tried", "changes only itself")
"""Checks of the plugin as a whole."""
OBJECTIVES_TRIED = "every objective is tried"
"""One more, of a plugin with objectives."""
CHECKPOINT_CHECKS = ("checkpoint", "repeatable checkpoint", "found by the host")
"""Checks of what a `FamilyCase` supplies."""


@dataclass(frozen=True, slots=True)
class PluginReport:
    """What the kit found out about one plugin."""

    state: PluginState
    results: tuple[Result, ...]

    @property
    def passed(self) -> bool:
        """True if every promise holds."""
        return all(result.passed for result in self.results)


def promises(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Subject and check of every promise that `check_plugin` will report; imports nothing of the plugin."""
    for check in PLUGIN_CHECKS:
        yield PLUGIN, check
    if manifest.objectives:
        yield PLUGIN, OBJECTIVES_TRIED
    for family in manifest.families:
        for check in (*CHECKPOINT_CHECKS, *FAMILY_CHECKS, *SERVED_CHECKS):
            yield f"family {family.name}", check
    for head in manifest.heads:
        for check in HEAD_CHECKS:
            yield f"head {head.name}", check
    for objective in manifest.objectives:
        for check in OBJECTIVE_CHECKS:
            yield f"objective {objective.name}", check


def check_plugin(host: PluginHost, name: str, *, repeat: bool = True) -> PluginReport:
    """Run the contract kit on the plugin of that name; every check runs, whatever the others found.

    `repeat` exports every checkpoint twice, which is half of the time. Raises `NotFound` for an unknown plugin.
    """
    state = host.check(name)
    run = Run(PLUGIN)
    run("loads", lambda: holds(state.state is State.OK, f"{state.state}: {state.reason}"))
    if state.manifest is None:
        run.unreached(PLUGIN_CHECKS[1:], "the plugin has no manifest that can be read")
        return PluginReport(state, tuple(run.results))
    manifest = state.manifest
    if state.state is not State.OK:
        return PluginReport(state, _complete(manifest, run.results, "the plugin does not load"))
    run("manifest", lambda: check_manifest(manifest))
    run("names", lambda: check_names(host, manifest))
    run("import cost", lambda: check_import_cost(manifest))
    cases: list[Case] = run("cases", lambda: read_cases(manifest)) or []
    run("every family is tried", lambda: check_all_tried(manifest, cases))
    run(OBJECTIVES_TRIED, lambda: check_objectives_tried(manifest, cases))
    found = merged((case.variant, result) for case in cases for result in _tried(host, case, repeat))
    # Last, so that what families and heads do when they run is seen too.
    run("changes only itself", lambda: check_patches(manifest))
    return PluginReport(state, _complete(manifest, [*run.results, *found], "there is no case that could be tried"))


def _complete(manifest: Manifest, results: list[Result], why: str) -> tuple[Result, ...]:
    """A result for every promise, in order: what was not proved does not hold."""
    found = {(result.subject, result.check): result for result in results}
    return tuple(
        found.get((subject, check), Result(check, False, f"not reached: {why}", subject))
        for subject, check in promises(manifest)
    )


def _tried(host: PluginHost, case: Case, repeat: bool) -> list[Result]:
    subject, checks = _promised(case)
    try:
        match case:
            case FamilyCase():
                return _family(host, case, subject, repeat)
            case HeadCase():
                return check_head_type(host.head_type(case.head), case, subject=subject)
            case ObjectiveCase():
                return _objective(host, case, subject)
    except HeadstockError as error:
        # The name is contested: the host gives it to nobody.
        run = Run(subject)
        run.unreached(checks, str(error))
        return run.results


def _promised(case: Case) -> tuple[str, tuple[str, ...]]:
    """Subject of a case, and the checks that it is for."""
    match case:
        case FamilyCase():
            return f"family {case.family}", (*CHECKPOINT_CHECKS, *FAMILY_CHECKS, *SERVED_CHECKS)
        case HeadCase():
            return f"head {case.head}", HEAD_CHECKS
        case ObjectiveCase():
            return f"objective {case.objective}", OBJECTIVE_CHECKS


def _objective(host: PluginHost, case: ObjectiveCase, subject: str) -> list[Result]:
    objective, family = host.objective(case.objective), host.family(case.family)
    with tempfile.TemporaryDirectory() as folder:
        try:
            files = _fetched(case, Path(folder))
        except Exception as error:
            run = Run(subject)
            run.unreached(OBJECTIVE_CHECKS, f"the case's files() made no checkpoint: {error}")
            return run.results
        return check_objective(objective, family, files, case, subject=subject)


def _family(host: PluginHost, case: FamilyCase, subject: str, repeat: bool) -> list[Result]:
    family = host.family(case.family)
    run = Run(subject)
    with tempfile.TemporaryDirectory() as folder:
        files = run("checkpoint", lambda: _fetched(case, Path(folder) / "one"))
        if files is None:
            rest = (*CHECKPOINT_CHECKS[1:], *FAMILY_CHECKS, *SERVED_CHECKS)
            run.unreached(rest, "the case's files() made no checkpoint")
            return run.results
        run("repeatable checkpoint", lambda: _same_again(case, files, Path(folder) / "two"))
        run("found by the host", lambda: _found(host, case.family, files))
        return [
            *run.results,
            *check_family(family, files, subject=subject),
            *check_served(family, files, Path(folder), subject=subject, repeat=repeat),
        ]


def _fetched(case: FamilyCase | ObjectiveCase, folder: Path) -> SourceFiles:
    """The case's checkpoint through the door of `headstock pull path:DIR`, which lets only known files in."""
    from headstock.sources import fetch

    made, pulled = folder / "made", folder / "pulled"
    made.mkdir(parents=True)
    pulled.mkdir()
    case.files(made)
    return fetch(f"path:{made}", pulled).files


def _same_again(case: FamilyCase, files: SourceFiles, folder: Path) -> None:
    again = _fetched(case, folder)
    first, second = _contents(files.root), _contents(again.root)
    different = sorted(str(name) for name in {*first, *second} if first.get(name) != second.get(name))
    holds(not different, f"the case's files() writes other bytes the second time: {different}")


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _found(host: PluginHost, name: str, files: SourceFiles) -> None:
    family = host.family_for(files)
    holds(family.name == name, f"a pull of this checkpoint would choose family {family.name!r}")
