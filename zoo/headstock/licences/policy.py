"""The policy: default context, modes, and stances on contested law, read from a file that states its changes only."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
        if unknown := sorted(set(value) - set(defaults)):
            raise InvalidInput(f"the policy has no section {unknown[0]!r}; it has {sorted(defaults)}")
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
        return cls(
            Context.from_mapping(merged["context"]),
            merged["mode"]["deny"],
            merged["mode"]["unknown"],
            merged["stances"],
            refused_licences(merged["refuse"]["licences"]),
            signature["mode"],
            tuple(keys),
        )

    def with_stances(self, **changes: str) -> Policy:
        """The same policy with other stances."""
        return Policy.from_mapping({**self.to_json(), "stances": {**self.stances, **changes}})

    def to_json(self) -> dict[str, Any]:
        """The whole policy in the shape of its file."""
        context = {k: v for k, v in asdict(self.context).items() if v is not None}
        return {
            "context": context,
            "mode": {"deny": self.deny, "unknown": self.unknown},
            "stances": dict(self.stances),
            "refuse": {"licences": list(self.refused)},
            "signature": {"mode": self.signature, "keys": list(self.keys)},
        }

    @cached_property
    def as_json(self) -> dict[str, Any]:
        """`to_json`, made once; not to be changed."""
        return self.to_json()

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


def _section(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = value.get(name, {})
    if not isinstance(section, Mapping):
        raise InvalidInput(f"the policy's {name!r} is {section!r}; expected a section")
    return section


def _check(what: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidInput(f"the policy's {what} is {value!r}; expected one of {list(allowed)}")
