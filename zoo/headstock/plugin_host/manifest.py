"""The static manifest `headstock.toml`: what a plugin offers, as plain data that listing reads without an import.

name = "headstock-acme"                # the entry point's name
api = ">=1.0,<2"                       # versions of `headstock.hookspecs.API_VERSION` that the plugin was made for
licence = "Apache-2.0"                 # SPDX expression of the plugin's code
module = "headstock_acme.plugin"       # where the hooks are; default `PACKAGE.plugin`
description = "ACME's text families"
capabilities = ["torch"]               # what the code does beyond computing: torch, network, files, custom-ops
hooks = ["finetune_callbacks"]         # hooks besides those that the tables below imply

[[families]]
name = "acme"
modality = "text"
model_types = ["acme"]                 # `model_type` values of config.json; the plugin is imported for these only
description = "..."
paper = "https://..."

[[families.presets]]
name = "acme-base"
source = "hf:acme/base"
licence = "Apache-2.0"                 # of this weight tag; `NOASSERTION` where nobody said
revision = ""                          # commit, where it is known
input = "512 tokens"
parameters = 110000000

[[heads]]
name = "acme-tagging"
task = "classification"
modality = "text"
description = "..."

[[objectives]]
name = "acme-guessing"
modality = "text"
description = "..."

[[commands]]
name = "acme"
help = "One line."
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeVar

from headstock.errors import InvalidInput
from headstock.names import NAME

FILE_NAME = "headstock.toml"
MAX_BYTES = 1 << 20
"""Largest manifest that is read."""
MAX_ENTRIES = 1000
"""Most entries of one table."""

CAPABILITIES = ("torch", "network", "files", "custom-ops")
EXTRA_HOOKS = ("licence_records", "finetune_callbacks", "recipe_checks")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Preset:
    """A known set of weights of a family."""

    name: str
    source: str
    """What `headstock pull` takes: `hf:ORG/NAME`."""
    licence: str
    """SPDX expression of this weight tag, or `NOASSERTION`."""
    revision: str = ""
    """Commit, where it is known for certain."""
    input: str = ""
    """Input size in words: `512 tokens`, `224 x 224`."""
    parameters: int = 0
    """Number of parameters; 0 where unstated."""
    paper: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """A backbone family as the manifest declares it."""

    name: str
    modality: str
    model_types: tuple[str, ...] = ()
    """`model_type` values of `config.json` that the family reads; empty: the family is asked about every source."""
    description: str = ""
    paper: str = ""
    presets: tuple[Preset, ...] = ()


@dataclass(frozen=True, slots=True)
class Head:
    """A head type as the manifest declares it."""

    name: str
    task: str
    modality: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class ObjectiveEntry:
    """An objective as the manifest declares it."""

    name: str
    modality: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """A command that the plugin adds to `headstock`."""

    name: str
    help: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything a plugin declares, with the distribution that ships it."""

    name: str
    distribution: str
    version: str
    """Version of the distribution."""
    package: str
    """Top-level package that the entry point names."""
    module: str
    """Module with the hooks."""
    api: str
    licence: str
    description: str = ""
    capabilities: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    """Hooks besides those that the tables imply: `licence_records`, `finetune_callbacks`, `recipe_checks`."""
    families: tuple[Family, ...] = ()
    heads: tuple[Head, ...] = ()
    objectives: tuple[ObjectiveEntry, ...] = ()
    commands: tuple[CommandEntry, ...] = ()
    digest: str = ""
    """Digest of the manifest file."""

    @property
    def title(self) -> str:
        """How messages name the plugin: `'headstock-acme' (distribution headstock-acme 1.0)`."""
        return f"{self.name!r} (distribution {self.distribution} {self.version})"

    def declared_hooks(self) -> frozenset[str]:
        """Names of the hooks that the plugin's module must and may have."""
        tables = {
            "backbone_families": self.families,
            "head_types": self.heads,
            "objectives": self.objectives,
            "cli_commands": self.commands,
        }
        return frozenset(self.hooks).union(hook for hook, rows in tables.items() if rows)


def parse_toml(data: bytes) -> dict[str, Any]:
    """The manifest's top table; raises `InvalidInput` for what is not TOML or too large."""
    if len(data) > MAX_BYTES:
        raise InvalidInput(f"{FILE_NAME} has {len(data)} bytes; expected at most {MAX_BYTES}")
    try:
        return tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{FILE_NAME} is not TOML: {error}") from error


def parse(
    value: Mapping[str, Any], *, name: str, package: str, distribution: str, version: str, digest: str = ""
) -> Manifest:
    """A manifest out of parsed TOML; raises `InvalidInput` that says which key is wrong and what it should be.

    `name` is the entry point's name and must equal the manifest's.
    """
    table = _Table(value, "")
    declared = table.text("name")
    if declared != name:
        raise InvalidInput(f"{FILE_NAME} says name = {declared!r} but the entry point is called {name!r}")
    manifest = Manifest(
        name=table.name("name"),
        distribution=distribution,
        version=version,
        package=package,
        module=_module(table, package),
        api=table.text("api"),
        licence=table.text("licence"),
        description=table.text("description", ""),
        capabilities=table.choices("capabilities", CAPABILITIES),
        hooks=table.choices("hooks", EXTRA_HOOKS),
        families=table.rows("families", _family),
        heads=table.rows("heads", _head),
        objectives=table.rows("objectives", _objective),
        commands=table.rows("commands", lambda row: CommandEntry(row.name("name"), row.text("help"))),
        digest=digest,
    )
    table.finish()
    return manifest


def _module(table: _Table, package: str) -> str:
    module = table.text("module", f"{package}.plugin")
    if not _MODULE.fullmatch(module) or module.split(".")[0] != package:
        raise InvalidInput(f"{FILE_NAME}: module {module!r} is not a module of package {package!r}")
    return module


def _family(row: _Table) -> Family:
    return Family(
        name=row.name("name"),
        modality=row.text("modality"),
        model_types=row.texts("model_types"),
        description=row.text("description", ""),
        paper=row.text("paper", ""),
        presets=row.rows("presets", _preset),
    )


def _preset(row: _Table) -> Preset:
    return Preset(
        name=row.name("name"),
        source=row.text("source"),
        licence=row.text("licence"),
        revision=row.text("revision", ""),
        input=row.text("input", ""),
        parameters=row.count("parameters"),
        paper=row.text("paper", ""),
    )


def _head(row: _Table) -> Head:
    return Head(row.name("name"), row.text("task"), row.text("modality"), row.text("description", ""))


def _objective(row: _Table) -> ObjectiveEntry:
    return ObjectiveEntry(row.name("name"), row.text("modality"), row.text("description", ""))


class _Table:
    """One TOML table being read: every value is typed, and a key that nobody read is a mistake.

    Written by hand because importing pydantic costs twice the CPU of all else that `headstock families` does.
    """

    def __init__(self, value: Any, where: str) -> None:
        self.where = where
        if not isinstance(value, Mapping):
            raise InvalidInput(f"{FILE_NAME}: {where} is {value!r}; expected a table")
        self._value = value
        self._read: list[str] = []

    def _get(self, key: str, default: Any) -> Any:
        self._read.append(key)
        if key not in self._value:
            if default is None:
                raise InvalidInput(f"{FILE_NAME}: {self.where}{key} is missing", fix=f'add {key} = "..."')
            return default
        return self._value[key]

    def _expected(self, key: str, value: Any, what: str) -> InvalidInput:
        shown = repr(value)
        return InvalidInput(f"{FILE_NAME}: {self.where}{key} is {shown[:60]}; expected {what}")

    def text(self, key: str, default: str | None = None) -> str:
        """A string; required, and not empty, unless there is a default."""
        value = self._get(key, default)
        if not isinstance(value, str) or (default is None and not value.strip()) or len(value) > 1000:
            raise self._expected(key, value, "a string")
        return value

    def name(self, key: str) -> str:
        """A string that is a legal name."""
        value = self.text(key)
        if not NAME.fullmatch(value):
            raise self._expected(key, value, "1 to 64 of a-z, 0-9, '.', '_' and '-'")
        return value

    def count(self, key: str) -> int:
        """A number of things; 0 when absent."""
        value = self._get(key, 0)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._expected(key, value, "a number of at least 0")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings; empty when absent."""
        value = self._get(key, [])
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise self._expected(key, value, "a list of strings")
        return tuple(value)

    def choices(self, key: str, allowed: Sequence[str]) -> tuple[str, ...]:
        """A list of words out of `allowed`."""
        values = self.texts(key)
        for value in values:
            if value not in allowed:
                raise self._expected(key, value, f"any of {list(allowed)}")
        return values

    def rows(self, key: str, read: Callable[[_Table], T]) -> tuple[T, ...]:
        """An array of tables, each read by `read`; names are unique within it."""
        value = self._get(key, [])
        if not isinstance(value, list):
            raise self._expected(key, value, f"[[{key}]] tables")
        if len(value) > MAX_ENTRIES:
            raise InvalidInput(f"{FILE_NAME}: {len(value)} {key}; expected at most {MAX_ENTRIES}")
        tables = [_Table(row, f"{self.where}{key}[{i}].") for i, row in enumerate(value)]
        entries = []
        for table in tables:
            entries.append(read(table))
            table.finish()
        names = [str(table._value["name"]) for table in tables]
        for name in names:
            if names.count(name) > 1:
                raise InvalidInput(f"{FILE_NAME}: {self.where}{key} has {name!r} twice")
        return tuple(entries)

    def finish(self) -> None:
        """Refuse keys that nothing read."""
        for key in self._value:
            if key not in self._read:
                close = get_close_matches(key, self._read, n=1)
                raise InvalidInput(
                    f"{FILE_NAME}: {self.where}{key} is not a known key; expected one of {sorted(set(self._read))}",
                    fix=f"did you mean {close[0]!r}?" if close else None,
                )
