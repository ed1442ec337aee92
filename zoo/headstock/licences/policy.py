"""The policy: default context, modes, and stances on contested law, read from a file that states its changes only."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from headstock.digest import Digest, digest_json
from headstock.errors import InvalidInput, NotFound
from headstock.licences import library
from headstock.licences.context import Context
from headstock.licences.folder import FOLDER
from headstock.licences.library import read_toml
from headstock.licences.refused import refused_licences
from headstock.licences.values import Value
from headstock.settings import Settings

Mode = Literal["enforce", "warn", "off"]
Action = Literal["allow", "warn", "refuse"]

MODES = ("enforce", "warn", "off")
STANCES: Mapping[str, tuple[str, ...]] = {
    "training_data": ("ignore", "attribute", "warn", "inherit-nc", "inherit-all"),
    "heads": ("own", "inherit", "contested"),
    "silence": ("own", "inherit", "contested"),
    "internal_use": ("commercial", "non-commercial", "contested"),
    "fields_of_use": ("bind", "ignore"),
    "unstated_scale": ("small", "unknown"),
    "unstated_parent": ("unknown", "trust-child"),
}
"""Stance to its positions."""

FILE_NAME = "policy.toml"
_DEFAULTS = Path(__file__).parent / "data" / FILE_NAME


@dataclass(frozen=True, slots=True)
class Tenant:
    """The use that one tenant of a server makes of it."""

    context: Context
    trusted: bool = False
    """True: its name may allow what the policy's own context does not, because a gateway says who calls."""


@dataclass(frozen=True)
class Policy:
    """How verdicts are made and what follows from them."""

    context: Context
    deny: Mode
    unknown: Mode
    stances: Mapping[str, str]
    refused: tuple[str, ...] = ()
    """Licences refused whatever they say."""
    signature: Mode = "off"
    """What follows at load from a version without a valid signature."""
    keys: tuple[str, ...] = ()
    """Public keys that count, PEM files relative to HEADSTOCK_HOME."""
    tenants: Mapping[str, Tenant] = field(default_factory=dict)
    """Tenants with a use of their own, by the name that callers give."""

    @classmethod
    def default(cls) -> Policy:
        """The policy that comes with Headstock."""
        return cls.from_mapping({})

    @classmethod
    def load(cls, settings: Settings) -> Policy:
        """`policy.toml` in HEADSTOCK_HOME over the defaults; the defaults alone where there is none.

        The installation's own licence records count from here on. Raises as `read` does, `Corrupt` for a bad record.
        """
        library.use(settings.home / FOLDER)
        path = settings.home / FILE_NAME
        return cls.read(path) if path.is_file() else cls.default()

    @classmethod
    def read(cls, path: Path) -> Policy:
        """A policy file over the defaults; raises `NotFound` or `InvalidInput`."""
        try:
            return cls.from_mapping(tomllib.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise NotFound(f"there is no policy file {path.name!r}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidInput(f"the policy file {path.name!r} is not TOML: {error}") from error

    @classmethod
    def from_mapping(cls, value: Mapping[str, Any]) -> Policy:
        """A validated policy; raises `InvalidInput` that names the key and what it may be."""
        defaults = read_toml(_DEFAULTS)
        if unknown := sorted(set(value) - {*defaults, "tenants"}):
            raise InvalidInput(f"the policy has no section {unknown[0]!r}; it has {sorted({*defaults, 'tenants'})}")
        merged = {name: {**section, **_section(value, name)} for name, section in defaults.items()}
        for name, section in merged.items():
            allowed = {*defaults[name], *(("scale",) if name == "context" else ())}
            if unknown := sorted(set(section) - allowed):
                raise InvalidInput(f"the policy's section {name!r} has no {unknown[0]!r}; it has {sorted(allowed)}")
        for name, position in merged["stances"].items():
            _check(f"stance {name}", position, STANCES[name])
        for name, mode in merged["mode"].items():
            _check(f"mode of {name}", mode, MODES)
        signature = merged["signature"]
        _check("mode of signature", signature["mode"], MODES)
        keys = signature["keys"]
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise InvalidInput(f"the policy's keys of signature are {keys!r}; expected a list of file names")
        context = Context.from_mapping(merged["context"])
        return cls(
            context,
            merged["mode"]["deny"],
            merged["mode"]["unknown"],
            merged["stances"],
            refused_licences(merged["refuse"]["licences"]),
            signature["mode"],
            tuple(keys),
            {name: _tenant(name, section, context) for name, section in _section(value, "tenants").items()},
        )

    def context_of(self, tenant: str) -> Context:
        """The use of a tenant; the policy's own for one that it does not name."""
        return self.tenants[tenant].context if tenant in self.tenants else self.context

    def with_stances(self, **changes: str) -> Policy:
        """The same policy with other stances."""
        return Policy.from_mapping({**self.to_json(), "stances": {**self.stances, **changes}})

    def to_json(self) -> dict[str, Any]:
        """The whole policy in the shape of its file."""
        return {
            "context": _stated(self.context),
            "mode": {"deny": self.deny, "unknown": self.unknown},
            "stances": dict(self.stances),
            "refuse": {"licences": list(self.refused)},
            "signature": {"mode": self.signature, "keys": list(self.keys)},
            "tenants": {n: {**_stated(t.context), "trusted": t.trusted} for n, t in self.tenants.items()},
        }

    @cached_property
    def as_json(self) -> dict[str, Any]:
        """What proofs state of it, made once and not to be changed: who else is served is nobody's business."""
        return {name: section for name, section in self.to_json().items() if name != "tenants"}

    @cached_property
    def digest(self) -> Digest:
        """Names the policy; a verdict computed under another one is stale."""
        return digest_json(self.as_json)

    def action(self, value: Value, warned: bool) -> Action:
        """What to do about a verdict; `warned` says that there is something to warn of although it allows.

        Under `enforce` nothing but `allow` goes on.
        """
        if value == "allow":
            return "warn" if warned and self.unknown != "off" else "allow"
        mode = self.deny if value == "deny" else self.unknown
        return "refuse" if mode == "enforce" else "warn" if mode == "warn" else "allow"


def _tenant(name: str, section: Any, base: Context) -> Tenant:
    if not isinstance(section, Mapping):
        raise InvalidInput(f"the policy's tenant {name!r} is {section!r}; expected a section [tenants.{name}]")
    use = dict(section)
    trusted = use.pop("trusted", False)
    if not isinstance(trusted, bool):
        raise InvalidInput(f"the policy's tenant {name!r}: trusted is {trusted!r}; expected true or false")
    try:
        return Tenant(Context.from_mapping(use, base), trusted)
    except InvalidInput as error:
        raise InvalidInput(f"the policy's tenant {name!r}: {error.message}") from error


def _stated(context: Context) -> dict[str, Any]:
    return {k: v for k, v in asdict(context).items() if v is not None}


def _section(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = value.get(name, {})
    if not isinstance(section, Mapping):
        raise InvalidInput(f"the policy's {name!r} is {section!r}; expected a section")
    return section


def _check(what: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidInput(f"the policy's {what} is {value!r}; expected one of {list(allowed)}")
