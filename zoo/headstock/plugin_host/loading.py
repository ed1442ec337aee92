"""One plugin, imported and asked: nothing it raises, prints or returns harms the rest."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType
from typing import Any

import pluggy

from headstock.errors import HeadstockError, PluginError
from headstock.hookspecs import HookSpecs
from headstock.plugin_host import health
from headstock.plugin_host.manifest import EXTRA_HOOKS, Manifest
from headstock.plugin_host.probe import probe
from headstock.settings import Settings

HOOKS = tuple(name for name in vars(HookSpecs) if not name.startswith("_"))
_FIRST_PARTY = "headstock"
_TRAIN_EXTRA = ("torch", "transformers", "tokenizers", "sklearn", "pandas")


class LoadedPlugin:
    """A plugin whose hooks are registered with a plugin manager of its own."""

    def __init__(self, manifest: Manifest, settings: Settings) -> None:
        """Import the plugin's module and register its hooks; raises `PluginError`."""
        self.manifest = manifest
        self._settings = settings
        self._manager = pluggy.PluginManager("headstock")
        self._manager.add_hookspecs(HookSpecs)
        try:
            _probe_once(manifest, settings)
            with _guard(manifest, settings, f"importing {manifest.module}"):
                module = import_module(manifest.module)
            with _guard(manifest, settings, "registering its hooks"):
                problem = _hook_problem(self._manager, module, manifest)
            if problem:
                raise _error(manifest, problem)
            with _guard(manifest, settings, "registering its hooks"):
                self._manager.register(module, manifest.name)
        except PluginError as error:
            health.remember(settings, manifest, error)
            raise
        health.remember(settings, manifest)

    def call(self, hook: str) -> list[Any]:
        """What the plugin returns from `hook`, as a list; raises `PluginError` for anything that is none."""
        with _guard(self.manifest, self._settings, f"calling its hook {hook}()"):
            results: list[Any] = getattr(self._manager.hook, hook)()
        for result in results:
            if not isinstance(result, Sequence) or isinstance(result, (str, bytes)):
                raise _error(self.manifest, f"its hook {hook}() returned {result!r:.60}; expected a list")
        return [item for result in results for item in result]

    def fault(self, message: str, fix: str | None = None) -> PluginError:
        """A `PluginError` that names this plugin."""
        return _error(self.manifest, message, fix)


def _probe_once(manifest: Manifest, settings: Settings) -> None:
    known = health.recall(settings, manifest)
    if known is not None and known.fatal:
        raise _error(manifest, known.reason, f"headstock plugins check {manifest.name}")
    if manifest.distribution == _FIRST_PARTY or (known is not None and not known.reason):
        return
    if reason := probe(manifest.module, sorted(manifest.declared_hooks()), settings.plugin_import_seconds):
        error = _error(
            manifest, reason, f"pip uninstall {manifest.distribution}, or leave it out with HEADSTOCK_PLUGINS"
        )
        health.remember(settings, manifest, error, fatal=True)
        raise error


def _hook_problem(manager: pluggy.PluginManager, module: ModuleType, manifest: Manifest) -> str:
    """What is wrong with the hooks of a module, or `""`. pluggy itself accepts a misspelt hook in silence."""
    found = {name: manager.parse_hookimpl_opts(module, name) for name in dir(module)}
    implemented = {name: options for name, options in found.items() if options is not None}
    declared = manifest.declared_hooks()
    for name, options in implemented.items():
        if name not in HOOKS:
            close = get_close_matches(name, HOOKS, n=1)
            hint = f"did you mean {close[0]}()?" if close else f"hooks are {', '.join(HOOKS)}"
            return f"{manifest.module} has a hook {name}() that does not exist; {hint}"
        if options.get("wrapper") or options.get("hookwrapper"):
            return f"its hook {name}() is a wrapper; a plugin answers for itself only"
        if name not in declared:
            where = "hooks" if name in EXTRA_HOOKS else "[[tables]]"
            return f"{manifest.module} has a hook {name}() that its manifest does not declare under {where}"
    for name in sorted(declared - set(implemented)):
        unmarked = ", though a function of that name lacks @hookimpl" if hasattr(module, name) else ""
        return f"its manifest declares what hook {name}() returns, but {manifest.module} has no such hook{unmarked}"
    return ""


@contextlib.contextmanager
def _guard(manifest: Manifest, settings: Settings, doing: str) -> Iterator[None]:
    """Turn whatever a plugin raises into a `PluginError`, and keep what it prints off our standard output."""
    try:
        with stdout_to_stderr():
            yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        _write_log(manifest, settings)
        what = f"it called sys.exit({error.code!r})" if isinstance(error, SystemExit) else _in_a_line(error)
        raise _error(manifest, f"{doing} failed: {what}", _fix(manifest, error)) from error


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Keep what the block prints, from Python or below it, off standard output, which may carry JSON."""
    # Both levels: `print` goes through sys.stdout, native code and child processes through descriptor 1.
    with contextlib.redirect_stdout(sys.stderr), contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, ValueError):
            # Without this, text that we printed ourselves would leave through the redirected descriptor.
            (sys.__stdout__ or sys.stderr).flush()
            saved = os.dup(1)
            stack.callback(os.close, saved)
            os.dup2(2, 1)
            stack.callback(os.dup2, saved, 1)
        yield


def _in_a_line(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())
    except Exception:
        # The exception is the plugin's own class, and so is its __str__.
        text = ""
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def _fix(manifest: Manifest, error: BaseException) -> str:
    if isinstance(error, HeadstockError) and error.fix:
        return error.fix
    missing = (error.name or "").split(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if missing and missing != manifest.package:
        return "pip install 'headstock[train]'" if missing in _TRAIN_EXTRA else f"pip install {missing}"
    return (
        f"read {_log_name(manifest)} in HEADSTOCK_HOME, then pip install --upgrade {manifest.distribution} "
        f"or pip uninstall {manifest.distribution}"
    )


def _error(manifest: Manifest, message: str, fix: str | None = None) -> PluginError:
    return PluginError(
        f"plugin {manifest.title}: {message}", fix=fix or f"pip install --upgrade {manifest.distribution}"
    )


def _log_name(manifest: Manifest) -> str:
    return f"logs/plugin-{manifest.name}.log"


def _write_log(manifest: Manifest, settings: Settings) -> None:
    path = settings.home / _log_name(manifest)
    # The error itself is raised in any case; only the traceback is lost where the home cannot be written.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(traceback.format_exc(), encoding="utf-8")
