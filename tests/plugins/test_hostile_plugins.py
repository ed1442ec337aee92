"""Plugins that misbehave: each loses itself, is named with its distribution, and everything else works."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pluggy
import pytest

from headstock.errors import PluginError
from headstock.hookspecs import HookSpecs
from headstock.plugin_host import State

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Site

TABLES = '[[heads]]\nname = "bad"\ntask = "classification"\nmodality = "text"\n'
HEAD = """
class Bad(HeadType):
    name, task, modality, tap, columns, primary_metric = "bad", "classification", "text", "mean", ("label",), "accuracy"
    encode = build = loss = metrics = linear_form = postprocess = lambda self, *rest: None
"""
HOOK = "@hookimpl\ndef head_types(): return [Bad()]\n"


def states(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    """Plugin states by name out of JSON output."""
    return {record["name"]: record for record in json.loads(done.stdout)}


def everything_else_works(site: Site) -> None:
    """Listings are clean JSON, and another plugin's head is there."""
    listed = site.run("heads", "--format", "json")
    assert listed.returncode == 0, listed.stderr
    assert "text-classification" in [h["name"] for h in json.loads(listed.stdout)]


# ----------------------------------------------------------------------------------------- at import
@pytest.mark.parametrize(
    "code, reason",
    [
        (
            "import no_such_module",
            "importing .*plugin failed: ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ("def broken(:", "importing .*plugin failed: SyntaxError"),
        ("import sys; sys.exit(3)", r"importing .*plugin failed: it called sys\.exit\(3\)"),
        ("raise BaseException('out')", "importing .*plugin failed: BaseException: out"),
        ("import os; os._exit(0)", "importing .*plugin ended the process with exit code 0"),
        ("import os; os.kill(os.getpid(), 11)", "importing .*plugin killed the process with SIGSEGV"),
        ("import time; time.sleep(60)", r"importing .*plugin took more than 1 s"),
    ],
    ids=["import-error", "syntax-error", "sys-exit", "base-exception", "os-exit", "crash", "hang"],
)
def test_a_failing_import_costs_only_its_plugin(site: Site, code: str, reason: str) -> None:
    """The check names it, later listings remember it, JSON stays whole, and the rest works."""
    if "sleep" in code:
        site.environment["HEADSTOCK_PLUGIN_IMPORT_SECONDS"] = "1"
    site.add("bad", TABLES, code)
    before = states(site.run("plugins", "--format", "json"))
    assert before["bad"]["state"] == "OK", "listing must not have imported it"
    checked = site.run("plugins", "check", "bad", "headstock-text", "--load-only", "--format", "json")
    assert checked.returncode == 1
    found = states(checked)
    assert found["headstock-text"]["state"] == "OK"

    assert found["bad"]["state"] == "BROKEN"
    assert re.search(reason, found["bad"]["reason"])
    assert found["bad"]["fix"]
    assert states(site.run("plugins", "--format", "json"))["bad"]["state"] == "BROKEN"
    everything_else_works(site)


def test_a_plugin_that_hung_is_not_waited_for_again(site: Site) -> None:
    """Until a check is asked for: a hang would cost its time limit at every use."""
    site.environment["HEADSTOCK_PLUGIN_IMPORT_SECONDS"] = "1"
    site.add("bad", TABLES, "import time; time.sleep(60)")
    with pytest.raises(PluginError, match="took more than 1 s"):
        site.host().head_type("bad")
    with pytest.raises(PluginError, match=r"which is BROKEN: .*took more than 1 s"):
        site.host().head_type("bad")


def test_the_traceback_is_kept_in_a_log(site: Site) -> None:
    """The message is one line; the log has the rest, and the fix says where."""
    site.add("bad", TABLES, "raise RuntimeError('deep inside')")
    with pytest.raises(PluginError) as caught:
        site.host().head_type("bad")
    assert "logs/plugin-bad.log" in (caught.value.fix or "")
    assert "Traceback" in (site.home / "logs" / "plugin-bad.log").read_text()


def test_a_plugin_that_prints_does_not_corrupt_json(site: Site) -> None:
    """At import and in a hook, from Python and from below it: all goes to standard error."""
    noise = "import os\nprint('noise 1', flush=True)\nos.write(1, b'noise 2\\n')\nos.system('echo noise 3')\n"
    site.add(
        "bad",
        TABLES,
        noise + HEAD + HOOK.replace("return", "print('noise 4'); return"),
        init="print('noise 0')",
    )
    checked = site.run("plugins", "check", "--load-only", "--format", "json")
    assert states(checked)["bad"]["state"] == "OK"
    assert all(f"noise {i}" in checked.stderr for i in range(5))
    everything_else_works(site)


# ------------------------------------------------------------------------------------------- hooks
@pytest.mark.parametrize(
    "code, reason",
    [
        ("import os; os.kill(os.getpid(), 11)", r"calling its hook head_types\(\) killed the process with SIGSEGV"),
        ("import os; os._exit(0)", r"calling its hook head_types\(\) ended the process with exit code 0"),
        ("import time; time.sleep(60)", r"calling its hook head_types\(\) took more than 1 s"),
    ],
    ids=["crash", "os-exit", "hang"],
)
def test_a_hook_that_no_handler_could_catch_costs_only_its_plugin(site: Site, code: str, reason: str) -> None:
    """It is called in a child first, so this process lives on, and is told which hook it was."""
    if "sleep" in code:
        site.environment["HEADSTOCK_PLUGIN_IMPORT_SECONDS"] = "1"
    site.add("bad", TABLES, f"@hookimpl\ndef head_types():\n    {code}\n")
    host = site.host()
    with pytest.raises(PluginError, match=reason):
        host.head_type("bad")
    assert host.head_type("text-classification").name == "text-classification"
    everything_else_works(site)


@pytest.mark.parametrize(
    "code, reason",
    [
        (HEAD + HOOK.replace("head_types()", "head_types(zoo)"), "PluginValidationError"),
        (
            HEAD + HOOK + HOOK.replace("head_types", "head_typs"),
            r"hook head_typs\(\) that does not exist; did you mean head",
        ),
        (
            HEAD + HOOK.replace("@hookimpl", ""),
            "has no such hook, though a function of that name lacks @hookimpl",
        ),
        ("", r"its manifest declares what hook head_types\(\) returns, but .*plugin has no such hook"),
        (
            HEAD + HOOK.replace("[Bad()]", "[1 / 0]"),
            r"calling its hook head_types\(\) failed: ZeroDivisionError",
        ),
        (
            HEAD + HOOK.replace("return [Bad()]", "raise SystemExit"),
            r"head_types\(\) failed: it called sys\.exit",
        ),
        (HEAD + HOOK.replace("[Bad()]", "'bad'"), r"head_types\(\) returned 'bad'; expected a list"),
        (HEAD + HOOK.replace("[Bad()]", "3"), r"head_types\(\) returned 3; expected a list"),
        (
            HEAD + HOOK.replace("[Bad()]", "['bad']"),
            r"head_types\(\) returned 'bad'; expected a list of HeadType",
        ),
        (
            HEAD + HOOK.replace("[Bad()]", "[type('R', (), {'__repr__': lambda s: 1 / 0})()]"),
            "cannot be looked at: Zero",
        ),
        (
            HEAD + HOOK.replace("return [Bad()]", "raise type('E', (Exception,), {'__str__': lambda s: 1 / 0})"),
            r"head_types\(\) failed: E ",
        ),
        (HEAD + HOOK.replace("Bad()", "Bad"), "it is a class, return an instance"),
        (HEAD + HOOK.replace("[Bad()]", "[]"), r"returned \[\] but its manifest declares \['bad'\]"),
        (HEAD + HOOK.replace("[Bad()]", "[Bad(), Bad()]"), r"head_types\(\) returned 'bad' twice"),
        (HEAD.replace('"mean"', "None") + HOOK, "head type 'bad' has tap None; expected a str"),
        (
            HEAD.replace('"classification"', '"regression"') + HOOK,
            "has task 'regression' but its manifest says 'clas",
        ),
        (HEAD.replace("encode = ", "") + HOOK, r"TypeError: Can't instantiate abstract class Bad"),
        (
            HEAD + HOOK.replace("@hookimpl", "@hookimpl(wrapper=True)").replace("return", "yield;"),
            "is a wrapper",
        ),
        (HEAD + HOOK.replace("@hookimpl", "@hookimpl(hookwrapper=True)"), "is a wrapper"),
        (
            HEAD + HOOK + "@hookimpl\ndef cli_commands(): return []\n",
            r"hook cli_commands\(\) that its manifest does not",
        ),
    ],
)
def test_a_hook_that_breaks_the_contract_is_refused_by_name(site: Site, code: str, reason: str) -> None:
    """The message names the plugin and its distribution; the next plugin's head is still there."""
    site.add("bad", TABLES, code, distribution="bad-dist")
    host = site.host()
    with pytest.raises(PluginError, match=reason) as caught:
        host.head_type("bad")
    assert caught.value.message.startswith("plugin 'bad' (distribution bad-dist 1.0): ")
    assert caught.value.fix
    assert host.head_type("text-classification").name == "text-classification"


def test_a_failure_is_the_same_when_it_is_asked_for_again(site: Site) -> None:
    """A package that is half imported is not imported again in the same process."""
    site.add("bad", TABLES, "raise RuntimeError('first')")
    host = site.host()
    for _ in range(2):
        with pytest.raises(PluginError, match="RuntimeError: first"):
            host.head_type("bad")


def test_an_interrupt_during_import_is_not_swallowed(site: Site) -> None:
    """Ctrl-C belongs to the person at the keyboard, not to the plugin."""
    site.add("bad", TABLES, "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        site.host().head_type("bad")


def test_a_hook_with_a_hundred_thousand_results_is_refused_in_a_short_message(site: Site) -> None:
    """A wrong loop in a plugin may not become a wall of text."""
    named = "def named(i):\n    bad = Bad()\n    bad.name = f'bad-{i}'\n    return bad\n"
    code = HEAD + named + HOOK.replace("[Bad()]", "[named(i) for i in range(100_000)]")
    site.add("bad", TABLES, code)
    with pytest.raises(
        PluginError, match=r"returned \['bad-0', .* and 99990 more\] but its manifest declares"
    ) as caught:
        site.host().head_type("bad")
    assert len(caught.value.message) < 500


def test_an_older_pluggy_is_refused_before_any_plugin(site: Site) -> None:
    """With 1.6 a refused plugin's first hooks would stay live."""
    info = site.folder / "pluggy-1.6.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pluggy\nVersion: 1.6.0\n")
    package = site.add("bad", TABLES, HEAD + HOOK)
    done = site.run("plugins", "check", "bad", "--load-only")
    assert done.returncode == 1
    assert "error: pluggy 1.6.0 is installed; plugins are safe to refuse from 1.7 on" in done.stderr
    assert "try:   pip install 'pluggy>=1.7'" in done.stderr
    assert package not in done.stdout + done.stderr


def test_a_plugin_that_pluggy_refuses_leaves_nothing_behind() -> None:
    """The reason for requiring pluggy 1.7: before, a refused plugin's first hooks stayed registered."""
    manager = pluggy.PluginManager("headstock")
    manager.add_hookspecs(HookSpecs)
    marker = pluggy.HookimplMarker("headstock")

    class Half:
        @marker
        def backbone_families(self) -> list[object]:
            return []

        @marker
        def head_types(self, wrong: object) -> list[object]:
            return [wrong]

    with pytest.raises(pluggy.PluginValidationError):
        manager.register(Half(), "half")
    assert not manager.has_plugin("half")
    assert manager.hook.backbone_families() == []


# ---------------------------------------------------------------------------------------- manifests
@pytest.mark.parametrize(
    "head, state, reason",
    [
        (
            'name = "bad"\napi = ">=2,<3"\nlicence = "MIT"\n',
            State.INCOMPATIBLE,
            "made for plugin API >=2,<3; this is 1.0",
        ),
        (
            'name = "bad"\napi = "<1"\nlicence = "MIT"\nnew_key = 1\n',
            State.INCOMPATIBLE,
            "made for plugin API <1",
        ),
        (
            'name = "bad"\napi = "newest"\nlicence = "MIT"\n',
            State.BROKEN,
            "api 'newest' is not a version range",
        ),
        ('name = "bad"\nlicence = "MIT"\n', State.BROKEN, "api is missing"),
        ('name = "bad"\napi = ">=1.0,<2"\n', State.BROKEN, "licence is missing"),
        ("\x00", State.BROKEN, "headstock.toml is not TOML"),
    ],
)
def test_a_plugin_with_an_unfit_manifest_is_never_imported(site: Site, head: str, state: State, reason: str) -> None:
    """It is listed with its state, the reason and a fix."""
    package = site.add("bad", TABLES, HEAD + HOOK, head=head)
    host = site.host()
    found = {s.name: s for s in host.states()}["bad"]
    assert (found.state, reason in found.reason, bool(found.fix)) == (state, True, True)
    assert "bad" not in [h.name for h in host.heads()]
    assert not [name for name in sys.modules if name.startswith(package)]


def test_an_entry_point_that_names_no_package_with_a_manifest_is_listed_as_broken(site: Site) -> None:
    """A dotted value would import its parent only to look at it; a missing package or manifest is named."""
    site.add("dotted", entry="json.tool")
    site.add("absent", entry="no_such_package_here")
    site.add("plain", entry="email")
    found = {s.name: s for s in site.host().states()}
    assert "expected a top-level package" in found["dotted"].reason
    assert "there is no package 'no_such_package_here'" in found["absent"].reason
    assert "package 'email' has no headstock.toml" in found["plain"].reason
    assert {found[n].state for n in ("dotted", "absent", "plain")} == {State.BROKEN}


def test_a_damaged_entry_point_file_does_not_hide_the_others(site: Site) -> None:
    """Another distribution's broken metadata is not our plugin's fault."""
    site.add("bad", TABLES, HEAD + HOOK)
    info = site.folder / "torn-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: torn\nVersion: 1.0\n")
    (info / "entry_points.txt").write_bytes(b"[headstock]\n\xff\xfe = = \n[unclosed\n")
    host = site.host()
    assert "bad" in [h.name for h in host.heads()]
    torn = {s.name: s for s in host.states()}["torn"]
    assert (torn.state, "entry_points.txt of the distribution is damaged" in torn.reason) == (
        State.BROKEN,
        True,
    )


def test_a_manifest_with_a_hundred_thousand_entries_is_refused_quickly(site: Site) -> None:
    """As broken, with its size; the listing takes no longer for it."""
    site.add("bad", '[[heads]]\nname = "x"\ntask = "x"\nmodality = "x"\n' * 100_000)
    state = {s.name: s for s in site.host().states()}["bad"]
    assert (state.state, "bytes; expected at most" in state.reason) == (State.BROKEN, True)
    rows = "".join(f'[[heads]]\nname = "h{i}"\ntask = "x"\nmodality = "x"\n' for i in range(1001))
    site.add("many", rows)
    state = {s.name: s for s in site.host().states()}["many"]
    assert (state.state, state.reason) == (State.BROKEN, "headstock.toml: 1001 heads; expected at most 1000")
    everything_else_works(site)


def test_a_preset_without_licence_breaks_its_manifest(site: Site) -> None:
    """Silence is never taken for permission; what nobody said is written NOASSERTION."""
    preset = '[[families]]\nname = "x"\nmodality = "text"\n[[families.presets]]\nname = "p"\nsource = "hf:a/b"\n'
    site.add("bad", preset)
    state = {s.name: s for s in site.host().states()}["bad"]
    assert state.state is State.BROKEN
    assert "families[0].presets[0].licence is missing" in state.reason


# ------------------------------------------------------------------------------------------- shadowing
def test_a_plugin_that_shadows_a_built_in_family_gets_nothing_and_is_named(site: Site, tmp_path: Path) -> None:
    """Neither owner is used until a person chooses; the built-in one can be chosen, and then works as before."""
    site.add(
        "bad",
        '[[families]]\nname = "bert"\nmodality = "text"\n',
        "raise RuntimeError('imported')",
        distribution="bad-dist",
    )
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "source" / "model.safetensors").write_bytes(b"")
    pulled = site.run("pull", f"path:{tmp_path / 'source'}", "--name", "x", "--family", "bert")
    assert pulled.returncode == 1
    assert "family 'bert' is declared by distributions bad-dist and headstock" in pulled.stderr
    assert "roberta" in site.run("families", "--format", "quiet").stdout.split()
    assert site.run("plugins", "pin", "family", "bert", "headstock").returncode == 0
    assert type(site.host().family("bert")).__module__.startswith("headstock_text.")


def test_a_plugin_cannot_take_a_built_in_command(site: Site) -> None:
    """`headstock list` stays ours, and nothing of the plugin is imported for it."""
    site.add("bad", '[[commands]]\nname = "list"\nhelp = "Mine."\n', "raise RuntimeError('imported')")
    listed = site.run("list", "--format", "json")
    assert (listed.returncode, json.loads(listed.stdout)) == (0, [])
    assert "Mine." not in site.run("--help").stdout
