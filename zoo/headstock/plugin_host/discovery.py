"""From installed distributions to plugin states: entry points, manifests, API ranges; no plugin is imported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from headstock.digest import digest_bytes
from headstock.errors import HeadstockError, InvalidInput
from headstock.hookspecs import API_VERSION
from headstock.hookspecs import ENTRY_POINT_GROUP as _GROUP
from headstock.names import NAME
from headstock.plugin_host import manifest as manifests
from headstock.plugin_host.health import recall
from headstock.plugin_host.pins import Pins, pin_command
from headstock.plugin_host.states import PluginState, State
from headstock.settings import Settings


@dataclass(frozen=True, slots=True)
class Installed:
    """An entry point of group `headstock`, and the distribution that has it."""

    name: str
    package: str
    """The entry point's value: a top-level package."""
    distribution: str
    version: str
    problem: str = ""
    """Why the entry point itself cannot be read."""


def discover(settings: Settings, pins: Pins) -> list[PluginState]:
    """The state of every installed plugin, by name."""
    found = sorted(installed(), key=lambda i: (i.name, i.distribution))
    return [_judge(plugin, found, settings, pins) for plugin in found]


def installed() -> Iterator[Installed]:
    """Every plugin entry point on `sys.path`; the first distribution of a name wins, as it does for imports."""
    seen: set[str] = set()
    for distribution in metadata.distributions():
        try:
            # Reading one small file first: parsing the metadata of a hundred distributions costs more than all else.
            text = distribution.read_text("entry_points.txt") or ""
            points = list(distribution.entry_points.select(group=_GROUP)) if _GROUP in text else []
            problem = ""
        except ValueError as error:
            # Whether a damaged file would have named a plugin cannot be known, so it is shown and not passed over.
            points, problem = [], f"entry_points.txt of the distribution is damaged: {error}"
        if not points and not problem:
            continue
        name, version = _named(distribution)
        if name not in seen:
            seen.add(name)
            if problem:
                yield Installed(name, "", name, version, problem)
            for point in points:
                yield Installed(point.name, point.value, name, version)


def _named(distribution: metadata.Distribution) -> tuple[str, str]:
    """Normalised name and version, of damaged metadata too."""
    import re

    fields = distribution.metadata
    name, version = ((fields.get_all(key) or ["unknown"])[0] for key in ("Name", "Version"))
    return re.sub(r"[-_.]+", "-", name).lower(), version


def _judge(plugin: Installed, everyone: list[Installed], settings: Settings, pins: Pins) -> PluginState:
    def state(state: State, reason: str = "", fix: str = "", manifest: manifests.Manifest | None = None) -> PluginState:
        return PluginState(plugin.name, plugin.distribution, plugin.version, state, reason, fix, manifest)

    rivals = sorted({p.distribution for p in everyone if p.name == plugin.name})
    owner = pins.get("plugin", {}).get(plugin.name)
    if len(rivals) > 1 and owner != plugin.distribution:
        reason = f"distributions {' and '.join(rivals)} both have a plugin called {plugin.name!r}"
        if owner in rivals:
            return state(State.DISABLED, f"{plugin.name!r} is pinned to {owner}", "")
        return state(State.BROKEN, reason, pin_command("plugin", plugin.name, rivals[0]))
    try:
        data = _manifest_bytes(plugin)
        value = manifests.parse_toml(data)
        # The range comes first: a manifest made for another API may hold keys that this one cannot judge.
        if refusal := _incompatible(value.get("api")):
            return state(State.INCOMPATIBLE, refusal, _other_version(plugin))
        manifest = manifests.parse(
            value,
            name=plugin.name,
            package=plugin.package,
            distribution=plugin.distribution,
            version=plugin.version,
            digest=digest_bytes(data),
        )
    except HeadstockError as error:
        return state(State.BROKEN, error.message, error.fix or _other_version(plugin))
    if settings.plugins is not None and plugin.name not in settings.plugins:
        return state(State.DISABLED, "HEADSTOCK_PLUGINS leaves it out", "add it to HEADSTOCK_PLUGINS", manifest)
    health = recall(settings, manifest)
    if health is not None and health.reason:
        broken = state(State.BROKEN, health.reason, health.fix, manifest)
        return replace(broken, retry=not health.fatal)
    return state(State.OK, manifest=manifest)


def _manifest_bytes(plugin: Installed) -> bytes:
    if plugin.problem:
        raise InvalidInput(plugin.problem)
    if not NAME.fullmatch(plugin.name):
        raise InvalidInput(f"the entry point is called {plugin.name!r}; expected a-z, 0-9, '.', '_' and '-'")
    if not plugin.package.isidentifier():
        # find_spec of a dotted name would import its parent.
        raise InvalidInput(f"the entry point's value is {plugin.package!r}; expected a top-level package")
    try:
        spec = find_spec(plugin.package)
    except (ImportError, ValueError) as error:
        raise InvalidInput(f"package {plugin.package!r} cannot be found: {error}") from error
    folders = list(spec.submodule_search_locations or []) if spec else []
    if not folders:
        raise InvalidInput(f"there is no package {plugin.package!r}, though the distribution promises it")
    path = Path(folders[0]) / manifests.FILE_NAME
    if not path.is_file():
        raise InvalidInput(
            f"package {plugin.package!r} has no {manifests.FILE_NAME} beside its __init__.py",
            fix=f"add {manifests.FILE_NAME} to the package and to its wheel",
        )
    with path.open("rb") as file:
        return file.read(manifests.MAX_BYTES + 1)


def _incompatible(api: object) -> str:
    """Why this API range shuts us out, or nothing; raises `InvalidInput` for what is not a range."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    if not isinstance(api, str) or not api.strip():
        raise InvalidInput(f"{manifests.FILE_NAME}: api is missing", fix=f'add api = ">={API_VERSION},<2"')
    try:
        fits = API_VERSION in SpecifierSet(api)
    except InvalidSpecifier as error:
        raise InvalidInput(f"{manifests.FILE_NAME}: api {api!r} is not a version range like '>=1.0,<2'") from error
    return "" if fits else f"it was made for plugin API {api}; this is {API_VERSION}"


def _other_version(plugin: Installed) -> str:
    return f"pip install --upgrade headstock {plugin.distribution}, or pip uninstall {plugin.distribution}"
