"""What a plugin's hooks return, checked against what its manifest declares."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, TypeVar, get_args

from headstock.errors import PluginError
from headstock.hookspecs import BackboneFamily, FinetuneCallback, HeadType, LicenceRecord, Objective, RecipeCheck
from headstock.plugin_host.loading import LoadedPlugin
from headstock.records import PaddingRule

T = TypeVar("T")

# The checker forbids passing an abstract class as a value because it might be instantiated; here it is only asked
# about with isinstance.


def offered(plugin: LoadedPlugin, hook: str) -> dict[str, Any]:
    """The hook's results by name (by position where they have none); raises `PluginError` for a broken promise."""
    try:
        return _judged(plugin, hook)
    except PluginError:
        raise
    except Exception as error:
        # Even looking at a result runs the plugin's code: properties, __repr__, metaclasses.
        what = type(error).__name__
        raise plugin.fault(f"what its hook {hook}() returned cannot be looked at: {what}") from error


def _judged(plugin: LoadedPlugin, hook: str) -> dict[str, Any]:
    match hook:
        case "backbone_families":
            return _families(plugin)
        case "head_types":
            return _heads(plugin)
        case "objectives":
            return _objectives(plugin)
        case "cli_commands":
            import click

            return _by_name(plugin, hook, click.Command, [c.name for c in plugin.manifest.commands])
        case "finetune_callbacks":
            return _unnamed(plugin, hook, FinetuneCallback)
        case "licence_records":
            return _unnamed(plugin, hook, LicenceRecord)
        case "recipe_checks":
            return _unnamed(plugin, hook, RecipeCheck)
        case _:
            raise AssertionError(f"this is a bug: hook {hook!r} has no check")


def _families(plugin: LoadedPlugin) -> dict[str, BackboneFamily]:
    declared = plugin.manifest.families
    families = _by_name(plugin, "backbone_families", BackboneFamily, [f.name for f in declared])  # type: ignore[type-abstract]
    for entry in declared:
        _agree(plugin, families[entry.name], modality=entry.modality)
        padding = getattr(families[entry.name], "padding", None)
        if padding not in get_args(PaddingRule):
            raise plugin.fault(
                f"family {entry.name!r} has padding {padding!r}; expected one of {list(get_args(PaddingRule))}"
            )
    return families


def _heads(plugin: LoadedPlugin) -> dict[str, HeadType]:
    declared = plugin.manifest.heads
    heads = _by_name(plugin, "head_types", HeadType, [h.name for h in declared])  # type: ignore[type-abstract]
    for entry in declared:
        _agree(plugin, heads[entry.name], modality=entry.modality, task=entry.task)
        for attribute, kind in (("tap", str), ("columns", tuple), ("primary_metric", str)):
            found = getattr(heads[entry.name], attribute, None)
            if not isinstance(found, kind):
                raise plugin.fault(f"head type {entry.name!r} has {attribute} {found!r}; expected a {kind.__name__}")
    return heads


def _objectives(plugin: LoadedPlugin) -> dict[str, Objective]:
    declared = plugin.manifest.objectives
    objectives = _by_name(plugin, "objectives", Objective, [o.name for o in declared])  # type: ignore[type-abstract]
    for entry in declared:
        _agree(plugin, objectives[entry.name], modality=entry.modality)
        for attribute in ("tap", "figure"):
            found = getattr(objectives[entry.name], attribute, None)
            if not isinstance(found, str):
                raise plugin.fault(f"objective {entry.name!r} has {attribute} {found!r}; expected a str")
    return objectives


def _by_name(plugin: LoadedPlugin, hook: str, kind: type[T], declared: Sequence[str]) -> dict[str, T]:
    found: dict[str, T] = {}
    for result in _results(plugin, hook, kind):
        name = str(getattr(result, "name", ""))
        if name in found:
            raise plugin.fault(f"its hook {hook}() returned {name!r} twice")
        found[name] = result
    if set(found) != set(declared):
        raise plugin.fault(
            f"its hook {hook}() returned {_some(found)} but its manifest declares {_some(declared)}",
            "make headstock.toml and the hook agree",
        )
    return found


def _some(names: Collection[str]) -> str:
    """The names in order, as many as a message can carry."""
    shown = ", ".join(repr(name[:60]) for name in sorted(names)[:10])
    return f"[{shown}]" if len(names) <= 10 else f"[{shown}, and {len(names) - 10} more]"


def _unnamed(plugin: LoadedPlugin, hook: str, kind: type[T]) -> dict[str, T]:
    return {str(i): result for i, result in enumerate(_results(plugin, hook, kind))}


def _results(plugin: LoadedPlugin, hook: str, kind: type[T]) -> list[T]:
    results = plugin.call(hook)
    for result in results:
        if not isinstance(result, kind):
            hint = "; it is a class, return an instance" if isinstance(result, type) else ""
            raise plugin.fault(f"its hook {hook}() returned {result!r:.60}; expected a list of {kind.__name__}{hint}")
    return results


def _agree(plugin: LoadedPlugin, offer: BackboneFamily | HeadType | Objective, **declared: str) -> None:
    for attribute, value in declared.items():
        found = getattr(offer, attribute, None)
        if found != value:
            raise plugin.fault(f"{offer.name!r} has {attribute} {found!r} but its manifest says {value!r}")
