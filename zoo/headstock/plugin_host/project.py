"""Writes a new plugin project from the templates in the wheel: complete, and passing its own tests offline."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from string import Template
from typing import Literal, cast

from headstock import __version__
from headstock.errors import AlreadyExists, InvalidInput, NotFound, Unsupported
from headstock.hookspecs import API_VERSION
from headstock.names import check_name
from headstock.plugin_host.host import PluginHost
from headstock.plugin_host.manifest import Manifest

Kind = Literal["family", "head"]

_SUFFIX, _PACKAGE = ".template", "PACKAGE"
_PREFIX = "headstock-"
_TAPS = {"text": "mean", "image": "pooled", "audio": "mean", "tabular": "pooled"}
_SAYS = {
    "family": "what a checkpoint is and turns into; its network is in `module.py`",
    "head": "what the head learns from, how, and what it answers",
}


def write_project(
    host: PluginHost, name: str, kind: str, modality: str, directory: Path | None = None
) -> tuple[Path, list[PurePosixPath]]:
    """Write the project of a plugin with one family or head type called `name`; its folder and its files.

    The folder is `directory`, or `headstock-NAME` here. Raises `InvalidInput` for a name that cannot be one,
    `AlreadyExists` for one that is taken and for a folder that is not empty, `Unsupported` for a modality without
    template.
    """
    words = _words(_checked(host, name, cast(Kind, kind)), cast(Kind, kind), modality)
    folder = directory if directory is not None else Path(words["distribution"])
    rendered = {
        path: Template(text).substitute(words)
        for tree in ("common", _tree(kind, modality))
        for path, text in _templates(tree, words["package"])
    }
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise AlreadyExists(f"{folder.name!r} exists and is not an empty folder", fix="--directory DIR")
    for path, text in rendered.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return folder, sorted(rendered)


def _checked(host: PluginHost, name: str, kind: Kind) -> str:
    """The name, if a plugin, a package and a class can be called after it and nobody is called so yet."""
    check_name(name)
    if name.startswith(_PREFIX) or not name[0].isalpha():
        shorter = name.removeprefix(_PREFIX).lstrip("0123456789._-")
        raise InvalidInput(
            f"name {name!r} cannot be used; expected one that begins with a letter and not with {_PREFIX!r}, which "
            "is put before it",
            fix=f"headstock plugins new {shorter} --{kind}" if shorter else None,
        )
    if owner := _owner(host, name, kind):
        raise AlreadyExists(
            f"{kind} {name!r} belongs to plugin {owner.title}; a name has one owner", fix="choose another name"
        )
    distribution = _PREFIX + name
    taken = [s.distribution for s in host.states() if s.name == distribution]
    if taken or find_spec(_identifier(distribution)) is not None:
        raise AlreadyExists(
            f"a plugin or package {distribution!r} is installed already" + (f" (by {taken[0]})" if taken else ""),
            fix="choose another name",
        )
    return name


def _owner(host: PluginHost, name: str, kind: Kind) -> Manifest | None:
    try:
        return host.plugin_of_family(name) if kind == "family" else host.plugin_of_head(name)
    except NotFound:
        return None


def _words(name: str, kind: Kind, modality: str) -> dict[str, str]:
    """What the templates' `$words` stand for."""
    major = int(API_VERSION.partition(".")[0])
    what = f"{'A backbone family' if kind == 'family' else 'A head type'} for {modality}"
    return {
        "name": name,
        "distribution": _PREFIX + name,
        "package": _identifier(_PREFIX + name),
        "identifier": _identifier(name),
        "Class": "".join(word.capitalize() for word in _identifier(name).split("_")),
        "modality": modality,
        "tap": _TAPS[modality],
        "description": f"{what}: say here what it is good for.",
        "code": kind,
        "says": _SAYS[kind],
        "api": API_VERSION,
        "api_end": str(major + 1),
        "headstock": __version__,
    }


def _identifier(name: str) -> str:
    return name.replace("-", "_").replace(".", "_")


def _tree(kind: str, modality: str) -> str:
    tree = kind if kind == "head" else f"{kind}-{modality}"
    if not (_root() / tree).is_dir():
        have = sorted(t.name.removeprefix("family-") for t in _root().iterdir() if t.name.startswith("family-"))
        raise Unsupported(f"there is no template of a {kind} for {modality}; there are {have}")
    return tree


def _templates(tree: str, package: str) -> list[tuple[PurePosixPath, str]]:
    """Path in the project and text of every template of a tree."""
    found: list[tuple[PurePosixPath, str]] = []

    def walk(folder: Traversable, path: PurePosixPath) -> None:
        for entry in folder.iterdir():
            if entry.is_dir():
                walk(entry, path / (package if entry.name == _PACKAGE else entry.name))
            elif entry.name.endswith(_SUFFIX):
                found.append((path / entry.name.removesuffix(_SUFFIX), entry.read_text(encoding="utf-8")))

    walk(_root() / tree, PurePosixPath())
    return found


def _root() -> Traversable:
    return files("headstock") / "templates"
