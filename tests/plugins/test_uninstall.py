"""A plugin that is gone: its names say what to install, and a new owner of them is not confused with it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from headstock.errors import NotFound

if TYPE_CHECKING:
    from conftest import Site

TABLE = '[[heads]]\nname = "acme-tagging"\ntask = "classification"\nmodality = "text"\n'
HEAD = """
class Acme(HeadType):
    name, task, modality, tap, columns = "acme-tagging", "classification", "text", "mean", ("label",)
    primary_metric = "accuracy"
    encode = build = loss = metrics = linear_form = postprocess = lambda self, *rest: None
@hookimpl
def head_types(): return [Acme()]
"""


def uninstall(site: Site, package: str, distribution: str) -> None:
    """As pip would."""
    shutil.rmtree(site.folder / package)
    shutil.rmtree(site.folder / f"{distribution.replace('-', '_')}-1.0.dist-info")


def test_a_name_of_a_plugin_that_is_gone_says_what_to_install(site: Site) -> None:
    """Once it was used here; the nearest name would be the wrong help."""
    package = site.add("acme", TABLE, HEAD, distribution="acme-dist")
    assert site.host().head_type("acme-tagging").name == "acme-tagging"
    uninstall(site, package, "acme-dist")
    for asked in (site.host().head_type, site.host().plugin_of_head):
        with pytest.raises(NotFound, match=r"head 'acme-tagging' was offered by distribution acme-dist 1\.0") as caught:
            asked("acme-tagging")
        assert caught.value.fix == "pip install acme-dist==1.0"
    with pytest.raises(NotFound, match="there is no family 'acme-tagging'"):
        site.host().family("acme-tagging")


def test_a_name_that_moved_to_another_plugin_is_that_plugins(site: Site) -> None:
    """What is remembered is only asked when nobody has the name."""
    package = site.add("acme", TABLE, HEAD)
    site.host().head_type("acme-tagging")
    uninstall(site, package, "acme")
    site.add("other", TABLE, HEAD)
    assert site.host().plugin_of_head("acme-tagging").name == "other"


def test_a_name_that_a_new_version_dropped_is_unknown(site: Site) -> None:
    """The plugin is there; installing what is remembered would not be an answer."""
    package = site.add("acme", TABLE, HEAD)
    site.host().head_type("acme-tagging")
    uninstall(site, package, "acme")
    site.add("acme", TABLE.replace("acme-tagging", "acme-other"), HEAD.replace("acme-tagging", "acme-other"))
    with pytest.raises(NotFound, match="there is no head 'acme-tagging'"):
        site.host().head_type("acme-tagging")


def test_a_damaged_memory_is_no_memory(site: Site) -> None:
    """It is a cache."""
    folder = site.settings().cache / "plugins"
    folder.mkdir(parents=True)
    for name, content in {"a": "{", "b": "[]", "c": '{"offers": {"head": "x"}}'}.items():
        (folder / f"{name}.json").write_text(content)
    with pytest.raises(NotFound, match="there is no head 'acme-tagging'"):
        site.host().head_type("acme-tagging")
