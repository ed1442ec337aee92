"""The folders, their allowed arrows and the architecture page agree with the code."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGINS = tuple(f"plugins/{modality}" for modality in ("text", "vision", "audio", "multimodal", "tabular", "trackers"))
CONTAINERS = ("zoo", "server", "plugins", *PLUGINS, "clients", "clients/python")

# Layer -> layers that it may import. `protos` are the generated stubs inside the zoo's package; `cli` is the program
# on top of the zoo, and the only part of it that knows the client.
ALLOWED = {
    "protos": set(),
    "zoo": {"protos"},
    "cli": {"zoo", "client"},
    "server": {"zoo", "protos"},
    "plugin": {"zoo"},
    "client": {"protos"},
}
PACKAGES = {
    "headstock_server": "server",
    "headstock_client": "client",
    "headstock_text": "plugin",
    "headstock_vision": "plugin",
    "headstock_audio": "plugin",
    "headstock_multimodal": "plugin",
    "headstock_tabular": "plugin",
    "headstock_trackers": "plugin",
}


def layer(module: str) -> str | None:
    """The layer of a dotted module name; None for other people's modules."""
    parts = module.split(".")
    if parts[0] == "headstock":
        if parts[1:2] in (["oip"], ["v1"]):
            return "protos"
        return "cli" if parts[1:2] in (["cli"], ["__main__"]) else "zoo"
    return PACKAGES.get(parts[0])


def sources() -> Iterator[tuple[str, Path]]:
    """Every module of the distribution with its dotted name."""
    for package in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "packages"
    ]:
        base = ROOT / package
        for path in sorted(base.rglob("*.py")):
            name = ".".join(path.relative_to(base.parent).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


def imports(path: Path) -> set[str]:
    """Dotted names that a module imports anywhere in it, lazily or not."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def test_only_allowed_arrows_exist_between_layers() -> None:
    """No import crosses layers in a direction that the architecture page does not show."""
    wrong = [
        f"{name} ({own}) imports {target} ({layer(target)})"
        for name, path in sources()
        for target in sorted(imports(path))
        if (own := layer(name))
        and (other := layer(target))
        and other != own
        and other not in ALLOWED[own]
        # The bare package name `headstock` says nothing about which part is used.
        and target != "headstock"
    ]
    assert wrong == []


@pytest.mark.parametrize("library", ["torch", "transformers", "pickle"])
def test_server_never_names_training_libraries_or_pickle(library: str) -> None:
    """The server runs exported graphs: neither torch nor pickle appears in it."""
    offenders = [
        name
        for name, path in sources()
        if layer(name) == "server" and library in {i.split(".")[0] for i in imports(path)}
    ]
    assert offenders == []


def test_nothing_imports_pickle() -> None:
    """Pickle never enters the store, so no module needs it."""
    banned = {"pickle", "cloudpickle", "joblib", "marshal", "shelve"}
    assert [name for name, path in sources() if banned & {i.split(".")[0] for i in imports(path)}] == []


@pytest.mark.parametrize("folder", CONTAINERS)
def test_containers_hold_packages_and_are_none(folder: str) -> None:
    """`zoo`, `server`, `plugins` and `clients` are folders, so no module has two names."""
    assert not (ROOT / folder / "__init__.py").exists()


def test_every_package_folder_is_in_the_wheel() -> None:
    """The wheel's explicit list and the folders agree; a new plugin folder cannot be forgotten."""
    listed = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    )
    found = {
        str(path.parent.relative_to(ROOT))
        for container in CONTAINERS
        for path in (ROOT / container).glob("*/__init__.py")
    }
    assert found == listed


def test_architecture_page_names_only_files_that_exist() -> None:
    """Each hop of the described request and fine-tune is a file of the checkout."""
    import re

    page = (ROOT / "docs" / "architecture.md").read_text()
    named = re.findall(r"`((?:zoo|server|plugins|clients|protos|tests|docs|examples|benchmarks)/[\w./-]+)`", page)
    assert len(named) > 20
    assert [n for n in named if not (ROOT / n).exists()] == []


def test_architecture_page_shows_the_arrows_that_the_test_holds() -> None:
    """The page's table of arrows is this module's table."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    for source, targets in ALLOWED.items():
        shown = ", ".join(sorted(targets)) or "nothing of ours"
        assert f"| {source} | {shown} |" in page
