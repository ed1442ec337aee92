"""`headstock plugins new`: complete projects for every modality, each of which keeps every promise of the kit."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headstock.errors import AlreadyExists, InvalidInput
from headstock.plugin_host.project import write_project
from headstock.testing.plugin_checks import check_plugin

if TYPE_CHECKING:
    from conftest import Site

FILES = {"README.md", "pyproject.toml", "tests/test_contract.py"}


def write(site: Site, name: str, kind: str = "family", modality: str = "text") -> Path:
    """A project in the site's folder."""
    folder, _ = write_project(site.host(), name, kind, modality, site.folder / f"headstock-{name}")
    return folder


def installed(site: Site, project: Path) -> str:
    """Make the project importable and found, as an editable install does; returns the plugin's name."""
    pyproject = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    ((plugin, package),) = pyproject["entry-points"]["headstock"].items()
    info = site.folder / f"{package}-{pyproject['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {pyproject['name']}\nVersion: {pyproject['version']}\n"
    )
    (info / "entry_points.txt").write_text(f"[headstock]\n{plugin} = {package}\n")
    site.monkeypatch.syspath_prepend(str(project))
    importlib.invalidate_caches()
    return str(plugin)


# The text family is the one that docs/plugins.md installs with pip and tests with pytest.
@pytest.mark.parametrize("modality", ["image", "audio", "tabular"])
def test_a_new_family_keeps_every_promise(site: Site, modality: str) -> None:
    """Untouched, of every modality: it can be exported, agrees with torch, and may share batches."""
    plugin = installed(site, write(site, f"new-{modality}", modality=modality))
    report = check_plugin(site.host(), plugin, repeat=False)
    assert [r for r in report.results if not r.passed] == []
    assert f"family new-{modality}" in {r.subject for r in report.results}


@pytest.mark.parametrize("modality", ["text", "image", "audio", "tabular"])
def test_a_new_head_keeps_every_promise(site: Site, modality: str) -> None:
    """Untouched, of every modality."""
    plugin = installed(site, write(site, f"new-{modality}-head", "head", modality))
    report = check_plugin(site.host(), plugin)
    assert [r for r in report.results if not r.passed] == []
    assert f"head new-{modality}-head" in {r.subject for r in report.results}


def test_a_project_is_complete_and_its_test_is_short(site: Site) -> None:
    """Its own pyproject, manifest, hooks, README and a test of about 15 lines; no placeholder is left."""
    folder = write(site, "acme.one-two")
    written = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
    package = "headstock_acme_one_two"
    code = {f"{package}/{name}.py" for name in ("__init__", "checks", "family", "module", "plugin")}
    assert set(written) == FILES | code | {f"{package}/headstock.toml", f"{package}/py.typed"}
    assert len(written["tests/test_contract.py"].read_text().splitlines()) <= 15
    assert [name for name, path in written.items() if "$" in path.read_text().replace("${", "")] == []
    assert "class AcmeOneTwoFamily" in written[f"{package}/family.py"].read_text()


def test_nothing_is_overwritten(site: Site) -> None:
    """A folder that is not empty, or a file of its name; an empty folder is taken."""
    folder = write(site, "acme")
    before = (folder / "README.md").read_text()
    with pytest.raises(AlreadyExists, match="'headstock-acme' exists and is not an empty folder"):
        write(site, "acme")
    assert (folder / "README.md").read_text() == before
    (site.folder / "a-file").write_text("mine")
    with pytest.raises(AlreadyExists):
        write_project(site.host(), "acme", "family", "text", site.folder / "a-file")
    (site.folder / "empty").mkdir()
    write_project(site.host(), "acme", "family", "text", site.folder / "empty")


@pytest.mark.parametrize("name", ["Acme", "../x", "3d", "", "con", "a b", "headstock-acme", "über"])
def test_a_name_that_cannot_be_one_is_refused_before_anything_is_written(site: Site, name: str) -> None:
    """It becomes a distribution, a package and a class."""
    with pytest.raises(InvalidInput):
        write_project(site.host(), name, "family", "text", site.folder / "new")
    assert not (site.folder / "new").exists()


def test_a_name_that_is_taken_is_refused_with_its_owner(site: Site) -> None:
    """A family of that name, a head type of that name, a package of that name."""
    with pytest.raises(
        AlreadyExists, match=r"family 'bert' belongs to plugin 'headstock-text' \(distribution headstock"
    ):
        write(site, "bert")
    with pytest.raises(AlreadyExists, match="head 'text-classification' belongs to plugin 'headstock-text'"):
        write(site, "text-classification", "head")
    with pytest.raises(AlreadyExists, match="'headstock-client' is installed already"):
        write(site, "client")


def test_the_command_says_what_it_wrote_and_what_is_next(site: Site) -> None:
    """Files on standard error, the next step on standard output; without a kind it says which there are."""
    target = site.folder / "there"
    done = site.run("plugins", "new", "acme", "--head", "--modality", "image", "--directory", str(target))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"next: cd {target} && pip install")
    assert "wrote headstock_acme/head.py" in done.stderr
    refused = site.run("plugins", "new", "acme")
    assert refused.returncode == 2
    assert "try:   --family or --head" in refused.stderr
