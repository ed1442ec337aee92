"""`headstock plugins check`: our own plugins keep every promise, and each way to break one is found and named."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from headstock.plugin_host import open_host
from headstock.testing.plugin_checks import PLUGIN, PluginReport, check_plugin, promises

if TYPE_CHECKING:
    from conftest import Site
    from headstock.testing.pytest_plugin import Promise

OURS = [m.name for m in open_host().manifests() if m.distribution == "headstock"]

HEAD_TABLE = """
description = "ACME's heads"
[[heads]]
name = "{name}"
task = "classification"
modality = "text"
description = "One label per text."
"""
HEAD = """
from headstock.heads import ClassificationHead
class Acme(ClassificationHead):
    name, modality, tap = "{name}", "text", "mean"
@hookimpl
def head_types(): return [Acme()]
"""


# One export each: a second one is half of the time, and test_contract_kit.py tries what can go wrong with it.
@pytest.mark.headstock_plugin(*OURS, repeat=False)
def test_our_own_plugins_keep_every_promise(headstock_promise: Promise) -> None:
    """Whatever the host lists: a new plugin joins by itself."""
    headstock_promise.hold()


def checked(
    site: Site, tables: str = "", plugin: str = "", *, name: str = "acme", checks: str = "", **more: str
) -> PluginReport:
    """The report on a plugin with one head type, changed by the arguments."""
    package = site.add(name, HEAD_TABLE.format(name=name) + tables, HEAD.format(name=name) + plugin, **more)
    if checks:
        (site.folder / package / "checks.py").write_text(checks)
    return check_plugin(site.host(), name)


def broken(report: PluginReport) -> dict[str, str]:
    """Checks that failed, with what they say."""
    return {r.check: r.detail for r in report.results if not r.passed}


def test_a_sound_plugin_keeps_its_promises_and_they_are_known_beforehand(site: Site) -> None:
    """Which promises there are follows from the manifest alone."""
    report = checked(site)
    assert broken(report) == {}
    assert report.state.manifest is not None
    assert [(r.subject, r.check) for r in report.results] == list(promises(report.state.manifest))


def test_a_plugin_that_does_not_load_keeps_none(site: Site) -> None:
    """What was not proved does not hold."""
    found = broken(checked(site, plugin="raise RuntimeError('half built')"))
    assert "half built" in found["loads"]
    assert found["manifest"] == found["build"] == "not reached: the plugin does not load"


@pytest.mark.parametrize(
    "tables, reason",
    [
        ('[[families]]\nname = "x"\nmodality = "smell"\ndescription = "x"\n', "'x' has modality 'smell'"),
        ('[[families]]\nname = "x"\nmodality = "text"\n', "'x' has no description"),
        (
            '[[families]]\nname = "x"\nmodality = "text"\ndescription = "x"\n'
            '[[families.presets]]\nname = "p"\nsource = "hf:a/b"\nlicence = "do what you like"\n',
            "licence 'do what you like' of preset 'p'",
        ),
        ('[[families]]\nname = "x"\nmodality = "text"\ndescription = "x"\n', "expected capabilities"),
    ],
)
def test_a_manifest_that_says_too_little_is_found(site: Site, tables: str, reason: str) -> None:
    """Listings and licence verdicts stand on it."""
    family = (
        "class X(BackboneFamily):\n    name, modality, padding = 'x', 'text', 'mask'\n"
        "    recognises = load = architecture = taps = inputs = preprocess = files = layer_groups = lambda *a: None\n"
        "@hookimpl\ndef backbone_families(): return [X()]\n"
    )
    if "smell" in tables:
        family = family.replace("'text'", "'smell'")
    found = broken(checked(site, tables, family))
    assert reason in found["manifest"]
    assert "no FamilyCase for ['x']" in found["every family is tried"]


def test_a_licence_that_is_no_spdx_expression_is_found(site: Site) -> None:
    """Of the plugin itself."""
    head = 'name = "acme"\napi = ">=1.0,<2"\nlicence = "free"\n'
    assert "licence 'free' of the plugin" in broken(checked(site, head=head))["manifest"]


@pytest.mark.parametrize(
    "code, reason",
    [
        ("import torch", "imports torch"),
        (
            "import time\nend = time.process_time() + 0.6\nwhile time.process_time() < end: pass",
            "ms of CPU; expected at most 500",
        ),
    ],
    ids=["torch", "slow"],
)
def test_an_import_that_costs_too_much_is_found(site: Site, code: str, reason: str) -> None:
    """Listings and servers must not pay for training."""
    assert reason in broken(checked(site, plugin=code))["import cost"]


@pytest.mark.parametrize(
    "patch",
    [
        "import headstock.names\nheadstock.names.check_alias = lambda alias: alias",
        "import pluggy\npluggy.PluginManager.acme = lambda self: None",
        "import numpy\nclass Other: pass\nnumpy.acme = Other",
    ],
    ids=["function", "method", "class"],
)
def test_a_plugin_that_changes_what_is_not_its_own_is_found(
    site: Site, patch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everyone in the process would run its code."""
    import numpy
    import pluggy

    import headstock.names

    for owner, name in ((headstock.names, "check_alias"), (pluggy.PluginManager, "acme"), (numpy, "acme")):
        # Undone after the test: set first, so that there is something to go back to.
        monkeypatch.setattr(owner, name, getattr(owner, name, None), raising=False)
    found = broken(checked(site, plugin=patch))
    assert list(found) == ["changes only itself"]
    assert "a plugin changes nothing but itself" in found["changes only itself"]


def test_a_name_that_somebody_else_claims_is_found_with_the_pin(site: Site) -> None:
    """A plugin that shadows a built-in one gets nothing, and neither does the built-in, until somebody chooses."""
    report = checked(site, name="text-classification")
    said = next(r.detail for r in report.results if r.check == "names")
    assert "declared by distributions headstock and text-classification" in said
    assert "headstock plugins pin head text-classification headstock" in said


@pytest.mark.parametrize(
    "code, reason",
    [
        ("x = 1", "has no function check_cases()"),
        ("def check_cases(): return 3", "returned 3; expected a list"),
        ("def check_cases(): raise RuntimeError('no')", "RuntimeError: no"),
        (
            "from headstock.testing import FamilyCase\ndef check_cases(): return [FamilyCase('other', files=print)]",
            "case of family 'other'",
        ),
    ],
)
def test_cases_that_cannot_be_read_are_found(site: Site, code: str, reason: str) -> None:
    """The kit never passes what it could not try."""
    assert reason in broken(checked(site, checks=code))["cases"]


def test_a_case_can_bring_its_own_rows_and_several_cases_must_all_hold(site: Site) -> None:
    """One variant that fails fails the promise, and says which."""
    checks = (
        "from headstock.testing import HeadCase, HeadRows\n"
        "def rows(random):\n"
        "    return HeadRows(random.standard_normal((40, 5)).astype('float32'), {'label': ['a', 'b'] * 20})\n"
        "def check_cases():\n"
        "    odd = HeadCase('acme', refused={'label': ['a', 'b'] * 4}, variant='odd')\n"
        "    return [HeadCase('acme', rows=rows, variant='own'), odd]\n"
    )
    found = broken(checked(site, checks=checks))
    assert list(found) == ["refuses bad data"]
    assert found["refuses bad data"].startswith("odd: encode() accepted")


OBJECTIVE_TABLE = """
[[objectives]]
name = "acme-mlm"
modality = "text"
description = "Hidden words, as ever."
"""
OBJECTIVE = """
from headstock_text.objectives.masked import MaskedLanguage
class Masked(MaskedLanguage):
    name = "acme-mlm"
@hookimpl
def objectives(): return [Masked()]
"""


def test_an_objective_is_tried_on_the_case_that_the_plugin_has_for_it(site: Site) -> None:
    """By the loop of `continue`, on a backbone of another plugin's family; without a case nothing is proved."""
    checks = (
        "from headstock.testing import ObjectiveCase, make_tiny_bert\n"
        "def check_cases(): return [ObjectiveCase({name!r}, {family!r}, make_tiny_bert)]\n"
    )
    report = checked(site, OBJECTIVE_TABLE, OBJECTIVE, checks=checks.format(name="acme-mlm", family="bert"))
    assert broken(report) == {}
    assert report.state.manifest is not None
    assert [(r.subject, r.check) for r in report.results] == list(promises(report.state.manifest))
    assert sum(r.subject == "objective acme-mlm" for r in report.results) == 10


@pytest.mark.parametrize(
    "code, check, reason",
    [
        ("", "every objective is tried", "no ObjectiveCase for ['acme-mlm']"),
        ("[ObjectiveCase('other', 'bert', print)]", "cases", "case of objective 'other'; the manifest declares"),
        ("[ObjectiveCase('acme-mlm', 'bret', print)]", "terms", "not reached: there is no family 'bret'"),
        ("[ObjectiveCase('acme-mlm', 'bert', print)]", "terms", "files() made no checkpoint"),
    ],
    ids=["none", "of another", "of no family", "without a checkpoint"],
)
def test_an_objective_that_could_not_be_tried_keeps_nothing(site: Site, code: str, check: str, reason: str) -> None:
    checks = f"from headstock.testing import ObjectiveCase\ndef check_cases(): return {code or []}\n"
    found = broken(checked(site, OBJECTIVE_TABLE, OBJECTIVE, checks=checks))
    assert reason in found[check]
    assert found["resumes"].startswith("not reached")


def test_an_objective_that_imports_torch_where_it_is_listed_is_found(site: Site) -> None:
    assert "imports torch" in broken(checked(site, OBJECTIVE_TABLE, "import torch\n" + OBJECTIVE))["import cost"]


# ---------------------------------------------------------------------------------------------- command
def test_the_command_prints_a_table_or_json_and_fails_when_a_promise_is_broken(site: Site) -> None:
    """By the name of the plugin, its distribution or its package; what the plugin prints stays out of the JSON."""
    noisy = HEAD.format(name="acme") + "print('noise')\n"
    package = site.add("acme", HEAD_TABLE.format(name="acme"), noisy, distribution="acme-dist")
    done = site.run("plugins", "check", package, "--format", "json")
    (report,) = json.loads(done.stdout)
    assert (done.returncode, report["passed"], report["state"]) == (0, True, "OK")
    assert {c["subject"] for c in report["checks"]} == {PLUGIN, "head acme"}
    assert site.run("plugins", "check", "acme-dist", "--load-only", "--format", "quiet").stdout == "acme\n"
    (site.folder / package / "checks.py").write_text("x = 1")
    done = site.run("plugins", "check", "acme")
    assert done.returncode == 1
    assert "acme: 6 of 15 promises hold" in done.stdout
    assert "FAILED  not reached: there is no case that could be tried" in done.stdout


def test_a_check_of_nobody_is_refused(site: Site) -> None:
    """With the nearest name."""
    done = site.run("plugins", "check", "headstock-txt")
    assert done.returncode == 1
    assert "did you mean 'headstock-text'?" in done.stderr


def test_load_only_imports_no_torch(site: Site) -> None:
    """What an operator asks for who wants to know whether plugins load."""
    run = "from headstock.cli.main import cli; cli.main(standalone_mode=False)"
    code = f"import sys; {run}; print(*sys.modules, file=sys.stderr)"
    done = site.run("plugins", "check", "headstock-text", "--load-only", code=code)
    assert done.returncode == 0
    assert "headstock_text.plugin" in done.stderr.split()
    assert "torch" not in done.stderr.split()


def test_a_disabled_plugin_is_not_imported_and_no_failure(site: Site) -> None:
    """Somebody chose to leave it out."""
    site.environment["HEADSTOCK_PLUGINS"] = "headstock-server"
    site.add("acme", HEAD_TABLE.format(name="acme"), "raise RuntimeError('imported')")
    done = site.run("plugins", "check", "acme", "--format", "json")
    (report,) = json.loads(done.stdout)
    assert (done.returncode, report["state"], "checks" in report) == (0, "DISABLED", False)


def test_a_broken_plugin_is_told_once(site: Site) -> None:
    """The reason and the fix, not thirty promises that were not reached."""
    site.add("acme", HEAD_TABLE.format(name="acme"), "raise RuntimeError('half built')")
    done = site.run("plugins", "check", "acme")
    assert done.returncode == 1
    assert done.stdout.count("half built") == 1
    assert "promises" not in done.stdout
