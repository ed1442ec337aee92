"""Finds functions and classes that a plugin put into libraries that everyone shares."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FunctionType, MethodType
from typing import Any

from headstock.plugin_host import Manifest
from headstock.testing.results import Broken

GUARDED = ("builtins", "grpc", "headstock", "headstock_server", "numpy", "onnxruntime", "pluggy", "tokenizers", "torch")
"""Libraries that no plugin may change under everyone's feet."""


def check_patches(manifest: Manifest) -> str:
    """Raise `Broken` if a function or class of the plugin stands in a module or class of a guarded library.

    Looks at what is loaded now. A replacement that hides where it comes from (a partial, a C function) is not found.
    """
    found = sorted(_foreign(manifest.package))
    if found:
        raise Broken(f"{manifest.package} replaced {', '.join(found[:3])}; a plugin changes nothing but itself")
    return ", ".join(library for library in GUARDED if library in sys.modules)


def _foreign(package: str) -> Iterator[str]:
    for name, module in list(sys.modules.items()):
        library = name.partition(".")[0]
        if library not in GUARDED or library == package or module is None:
            continue
        for attribute, value in list(vars(module).items()):
            if _belongs(value, package):
                yield f"{name}.{attribute}"
            elif issubclass(type(value), type) and value.__module__ == name:
                yield from (f"{name}.{attribute}.{m}" for m, v in list(vars(value).items()) if _belongs(v, package))


def _belongs(value: Any, package: str) -> bool:
    # By type, and only these: asking any other object for its class or module may run its code.
    kind = type(value)
    if kind in (staticmethod, classmethod):
        value = value.__func__
    elif kind is property:
        value = value.fget
    if not issubclass(type(value), FunctionType | MethodType | type):
        return False
    owner = getattr(value, "__module__", None)
    return isinstance(owner, str) and owner.partition(".")[0] == package
