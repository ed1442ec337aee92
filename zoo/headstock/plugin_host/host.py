"""The plugin host: who offers which name, and the objects behind the names, one plugin imported at a time."""

from __future__ import annotations

import logging
import re
import threading
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from headstock.errors import Conflict, FailedPrecondition, HeadstockError, NotFound, PluginError
from headstock.hookspecs import (
    BackboneFamily,
    FinetuneCallback,
    HeadType,
    LicenceRecord,
    Objective,
    RecipeCheck,
    SourceFiles,
)
from headstock.plugin_host import health
from headstock.plugin_host.claims import Claims, NameConflict, unknown
from headstock.plugin_host.discovery import discover
from headstock.plugin_host.loading import LoadedPlugin
from headstock.plugin_host.manifest import Family, Manifest, ObjectiveEntry, Preset
from headstock.plugin_host.offers import offered
from headstock.plugin_host.pins import Claim, pin_command, read_pins, write_pin
from headstock.plugin_host.states import PluginState, State
from headstock.settings import Settings

if TYPE_CHECKING:
    import click

T = TypeVar("T")

_log = logging.getLogger(__name__)

_PLUGGY = (1, 7)


@dataclass(frozen=True, slots=True)
class FamilyEntry:
    """A backbone family that may be used, as listings show it."""

    name: str
    modality: str
    description: str
    model_types: tuple[str, ...]
    """`model_type` values that it reads; empty: it is asked about every source."""
    paper: str
    presets: tuple[Preset, ...]
    plugin: str
    distribution: str


@dataclass(frozen=True, slots=True)
class HeadEntry:
    """A head type that may be used, as listings show it."""

    name: str
    task: str
    modality: str
    description: str
    plugin: str
    distribution: str


class PluginHost:
    """All plugins of this installation. Making one reads manifests; `family`, `head_type`... import the owner.

    Thread-safe.
    """

    def __init__(self, settings: Settings) -> None:
        """Read every manifest; raises `InvalidInput` for a damaged config.toml, `FailedPrecondition` for old pluggy."""
        _require_pluggy()
        pins = read_pins(settings.home)
        self._settings = settings
        self._states = discover(settings, pins)
        self._claims = Claims(self._states, pins)
        self._lock = threading.RLock()
        self._loaded: dict[str, LoadedPlugin | PluginError] = {}
        self._offers: dict[tuple[str, str], dict[str, Any]] = {}

    # ------------------------------------------------------------------------------------------ plain data
    def states(self) -> list[PluginState]:
        """Every installed plugin, by name."""
        return list(self._states)

    def manifests(self) -> list[Manifest]:
        """Manifests of the plugins that may be used, by name."""
        return [manifest for state in self._states if (manifest := state.usable) is not None]

    def families(self) -> list[FamilyEntry]:
        """Families by name; a name in conflict is left out (see `conflicts`)."""
        return [
            FamilyEntry(
                name=f.name,
                modality=f.modality,
                description=f.description,
                model_types=f.model_types,
                paper=f.paper,
                presets=f.presets,
                plugin=m.name,
                distribution=m.distribution,
            )
            for m, f in self._claims.owned("family")
        ]

    def heads(self) -> list[HeadEntry]:
        """Head types by name; a name in conflict is left out (see `conflicts`)."""
        return [
            HeadEntry(h.name, h.task, h.modality, h.description, m.name, m.distribution)
            for m, h in self._claims.owned("head")
        ]

    def objectives(self) -> list[ObjectiveEntry]:
        """Objectives by name; a name in conflict is left out (see `conflicts`)."""
        return [entry for _, entry in self._claims.owned("objective")]

    def conflicts(self) -> list[NameConflict]:
        """Names that several plugins claim and no pin settles."""
        return self._claims.conflicts()

    def plugin_of_family(self, name: str) -> Manifest:
        """The plugin that offers a family; raises as `family` does, but imports nothing."""
        return self._owner("family", name)

    def plugin_of_head(self, name: str) -> Manifest:
        """The plugin that offers a head type; raises as `head_type` does, but imports nothing."""
        return self._owner("head", name)

    # ------------------------------------------------------------------------------------------- behaviour
    def family(self, name: str) -> BackboneFamily:
        """The family of that name; raises `NotFound`, `Conflict` or `PluginError`."""
        family: BackboneFamily = self._offer("family", name, "backbone_families")
        return family

    def head_type(self, name: str) -> HeadType:
        """The head type of that name; raises `NotFound`, `Conflict` or `PluginError`."""
        head: HeadType = self._offer("head", name, "head_types")
        return head

    def objective(self, name: str) -> Objective:
        """The objective of that name; raises `NotFound`, `Conflict` or `PluginError`."""
        objective: Objective = self._offer("objective", name, "objectives")
        return objective

    def plugin_of_objective(self, name: str) -> Manifest:
        """The plugin that offers an objective; raises as `objective` does, but imports nothing."""
        return self._owner("objective", name)

    def command(self, name: str) -> click.Command:
        """The command of that name; raises `NotFound`, `Conflict` or `PluginError`."""
        command: click.Command = self._offer("command", name, "cli_commands")
        return command

    def callbacks(self) -> list[FinetuneCallback]:
        """Trackers of every plugin that declares any; one that fails is logged and left out."""
        return self._gather("finetune_callbacks")

    def licence_records(self) -> list[LicenceRecord]:
        """Licence evidence of every plugin that declares any; one that fails is logged and left out."""
        return self._gather("licence_records")

    def recipe_checks(self) -> list[RecipeCheck]:
        """Checks of recipes that a plugin's own command runs; one that fails is logged and left out."""
        return self._gather("recipe_checks")

    def family_for(self, files: SourceFiles) -> BackboneFamily:
        """The one family that recognises these files.

        Raises `NotFound` if none does and `Conflict`, naming all, if several do. A plugin that fails is passed over
        and named in the error.
        """
        model_type = files.config.get("model_type")
        found: list[BackboneFamily] = []
        failures = ""
        for entry in self.families():
            if not _may_read(entry.model_types, model_type):
                continue
            try:
                family = self.family(entry.name)
                if self._recognises(family, files):
                    found.append(family)
            except PluginError as error:
                failures += f"; {error.message}"
        if len(found) == 1:
            return found[0]
        if found:
            raise Conflict(
                f"families {[f.name for f in found]} all recognise {files.spec!r}",
                fix=f"say which one: --family {found[0].name}",
            )
        self._refuse_contested(model_type)
        said = f"its config.json says model_type {model_type!r}" if model_type else "no config.json says its model_type"
        raise NotFound(
            f"no family recognises {files.spec!r}: {said}; families are {self._claims.names('family')}{failures}",
            fix="headstock families --presets",
        )

    # ------------------------------------------------------------------------------------------ maintenance
    def check(self, name: str) -> PluginState:
        """Import a plugin and call its hooks, whatever is remembered of it; its state now. Raises `NotFound`."""
        state = next((s for s in self._states if s.name == name), None)
        if state is None:
            raise unknown("plugin", name, [s.name for s in self._states])
        if state.manifest is None or state.state in (State.DISABLED, State.INCOMPATIBLE):
            return state
        with self._lock:
            health.forget(self._settings, state.manifest)
            self._loaded.pop(name, None)
            try:
                for hook in sorted(state.manifest.declared_hooks()):
                    self._offers.pop((name, hook), None)
                    self._offered(state.manifest, hook)
            except PluginError as error:
                reason = health.bare_reason(state.manifest, error)
                return replace(state, state=State.BROKEN, reason=reason, fix=error.fix or "")
        return replace(state, state=State.OK, reason="", fix="")

    def pin(self, claim: Claim, name: str, distribution: str) -> None:
        """Settle who owns `name`, from the next host on; raises `NotFound` if that distribution does not declare it."""
        if claim == "plugin":
            owners = [s.distribution for s in self._states if s.name == name]
        else:
            owners = self._claims.declared_by(claim, name)
        if distribution not in owners:
            offered_by = f"it is declared by {owners}" if owners else "no plugin declares it"
            raise NotFound(
                f"{claim} {name!r} is not declared by distribution {distribution!r}; {offered_by}",
                fix=pin_command(claim, name, owners[0]) if owners else "headstock plugins",
            )
        write_pin(self._settings.home, claim, name, distribution)
        _host.cache_clear()

    # -------------------------------------------------------------------------------------------- internals
    def _offer(self, claim: Claim, name: str, hook: str) -> Any:
        return self._offered(self._owner(claim, name), hook)[name]

    def _owner(self, claim: Claim, name: str) -> Manifest:
        try:
            return self._claims.owner(claim, name)
        except NotFound as error:
            gone = health.former_owner(self._settings, claim, name, [s.name for s in self._states])
            if gone is None:
                raise
            raise NotFound(
                f"{claim} {name!r} was offered by distribution {gone.distribution} {gone.version}, "
                "which is not installed any more",
                fix=f"pip install {gone.distribution}=={gone.version}",
            ) from error

    def _offered(self, manifest: Manifest, hook: str) -> dict[str, Any]:
        with self._lock:
            key = (manifest.name, hook)
            if key not in self._offers:
                plugin = self._load(manifest)
                try:
                    self._offers[key] = offered(plugin, hook)
                except PluginError as error:
                    health.remember(self._settings, manifest, error)
                    raise
            return self._offers[key]

    def _load(self, manifest: Manifest) -> LoadedPlugin:
        loaded = self._loaded.get(manifest.name)
        if loaded is None:
            try:
                loaded = LoadedPlugin(manifest, self._settings)
            except PluginError as error:
                # A second import of a half-imported package fails in new and misleading ways.
                loaded = error
            self._loaded[manifest.name] = loaded
        if isinstance(loaded, PluginError):
            raise PluginError(loaded.message, fix=loaded.fix) from loaded
        return loaded

    def _gather(self, hook: str) -> list[Any]:
        found: list[Any] = []
        for manifest in self.manifests():
            if hook in manifest.hooks:
                try:
                    found.extend(self._offered(manifest, hook).values())
                except PluginError as error:
                    _log.warning("%s", error)
        return found

    def _recognises(self, family: BackboneFamily, files: SourceFiles) -> bool:
        try:
            return bool(family.recognises(files))
        except HeadstockError:
            raise
        except Exception as error:
            title = self._claims.owner("family", family.name).title
            raise PluginError(
                f"plugin {title}: family {family.name!r} failed to judge {files.spec!r}: "
                f"{type(error).__name__}: {error}"
            ) from error

    def _refuse_contested(self, model_type: object) -> None:
        """Raise `Conflict` if a name that nobody gets might have read the source."""
        for conflict in self.conflicts():
            if conflict.claim == "family":
                rivals = self._claims.owners("family", conflict.name)
                if any(isinstance(f, Family) and _may_read(f.model_types, model_type) for _, f in rivals):
                    raise conflict.error()


def open_host(settings: Settings | None = None) -> PluginHost:
    """The plugin host of these settings (default: the environment's), one per process; imports no plugin."""
    return _host(settings or Settings.from_environment())


@cache
def _host(settings: Settings) -> PluginHost:
    return PluginHost(settings)


def _require_pluggy() -> None:
    found = re.match(r"(\d+)\.(\d+)", pluggy.__version__)
    if found is None or (int(found[1]), int(found[2])) < _PLUGGY:
        # Up to 1.6 a plugin that is refused for its second hook stays live with its first.
        raise FailedPrecondition(
            f"pluggy {pluggy.__version__} is installed; plugins are safe to refuse from "
            f"{'.'.join(map(str, _PLUGGY))} on",
            fix=f"pip install 'pluggy>={'.'.join(map(str, _PLUGGY))}'",
        )


def _may_read(model_types: tuple[str, ...], model_type: object) -> bool:
    # A source that does not say what it is, and a family that does not say what it reads, are both worth a look.
    return not model_types or model_type is None or model_type in model_types
