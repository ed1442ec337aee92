"""The plugin host: listing imports nothing, names have one owner, and only the owner is imported."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headstock.errors import Conflict, InvalidInput, NotFound, PluginError
from headstock.hookspecs import SourceFiles
from headstock.plugin_host import PluginHost, State, open_host

if TYPE_CHECKING:
    from conftest import Site

HEAVY = (
    "torch",
    "transformers",
    "onnxruntime",
    "grpc",
    "numpy",
    "sqlalchemy",
    "pydantic",
    "headstock_text.plugin",
)

MODULES_AFTER = """
import sys
from headstock.cli.main import cli
cli.main(standalone_mode=False)
sys.stderr.write("\\n".join(sys.modules))
"""

# A family in four lines: what is not under test answers None.
FAMILY = """
class {name}(BackboneFamily):
    name, modality, padding = "{name}".lower(), "text", "mask"
    def recognises(self, files): return files.config.get("model_type") == "{reads}"
    load = architecture = taps = inputs = preprocess = files = layer_groups = lambda self, *rest: None
"""


def family_plugin(*names: str, reads: str = "acme") -> str:
    """A hook module that offers families of these names."""
    hook = f"@hookimpl\ndef backbone_families(): return [{', '.join(n + '()' for n in names)}]\n"
    return "".join(FAMILY.format(name=n, reads=reads) for n in names) + hook


def family_table(name: str, model_types: str = "") -> str:
    """The manifest's table of a family."""
    types = f"model_types = [{model_types}]\n" if model_types else ""
    return f'[[families]]\nname = "{name}"\nmodality = "text"\n{types}'


def source(**config: str) -> SourceFiles:
    """A source of which only the configuration matters."""
    return SourceFiles(Path("nowhere"), config, "path:nowhere")


# ------------------------------------------------------------------------------------------------ listing
@pytest.mark.parametrize("arguments", [["plugins"], ["families"], ["families", "--presets"], ["heads"], ["--help"]])
def test_listing_commands_import_nothing_heavy_and_no_plugin(site: Site, arguments: list[str]) -> None:
    """Neither the libraries behind training and serving nor any plugin's code."""
    done = site.run(*arguments, code=MODULES_AFTER)
    assert done.returncode == 0, done.stderr
    assert set(done.stderr.split()).isdisjoint(HEAVY)


def test_families_and_presets_are_listed_from_manifests(site: Site) -> None:
    """A preset has its source, its licence and its input size; one without a commit says that it is not pinned."""
    presets = json.loads(site.run("families", "--presets", "--format", "json").stdout)
    base = next(p for p in presets if p["name"] == "bert-base-uncased")
    assert base["source"] == "hf:google-bert/bert-base-uncased"
    assert (base["family"], base["licence"], base["input"]) == ("bert", "Apache-2.0", "512 tokens")
    header, *rows = site.run("families", "--presets").stdout.splitlines()
    assert "REVISION" in header.split()
    assert "unpinned" in next(row for row in rows if row.startswith("bert-base-uncased ")).split()
    assert "bert" in site.run("families", "--format", "quiet").stdout.split()
    assert "text-classification" in site.run("heads").stdout


def test_the_first_party_plugins_come_through_the_same_door() -> None:
    """Nothing is built in: the text plugin is an entry point like any other."""
    host = open_host()
    assert "headstock-text" in [s.name for s in host.states() if s.state is State.OK]
    assert host.plugin_of_family("bert").distribution == "headstock"
    assert host.plugin_of_head("text-embedding").name == "headstock-text"
    assert (host.family("bert").name, host.head_type("text-embedding").task) == ("bert", "embedding")


def test_one_host_per_settings_and_process() -> None:
    """Opening the host twice reads the manifests once."""
    assert open_host() is open_host()


# ------------------------------------------------------------------------------------------------ names
def test_only_the_owner_of_a_name_is_imported(site: Site) -> None:
    """A neighbour that would fail at import stays untouched."""
    good = site.add("acme-good", family_table("good"), family_plugin("Good"))
    bad = site.add("acme-bad", family_table("bad"), "raise RuntimeError('imported')")
    host = site.host()
    assert host.family("good").name == "good"
    assert f"{good}.plugin" in sys.modules
    assert f"{bad}.plugin" not in sys.modules


def test_an_unknown_name_is_answered_with_the_nearest_one() -> None:
    """For families, heads and commands alike."""
    host = open_host()
    with pytest.raises(NotFound, match="there is no family 'brt'") as caught:
        host.family("brt")
    assert caught.value.fix == "did you mean 'bert'?"
    with pytest.raises(NotFound, match="there is no head 'text-clasification'"):
        host.head_type("text-clasification")
    with pytest.raises(NotFound, match="there is no command 'srve'"):
        host.command("srve")


def test_two_owners_of_one_name_are_both_refused_and_named(site: Site) -> None:
    """The contested name belongs to nobody, whatever the order on the path; other names of both stay usable."""
    site.add("acme-b", family_table("same") + family_table("only"), family_plugin("Same", "Only"))
    site.add("acme-a", family_table("same"), family_plugin("Same"))
    host = site.host()
    with pytest.raises(Conflict, match="declared by distributions acme-a and acme-b") as caught:
        host.family("same")
    assert caught.value.fix == "headstock plugins pin family same acme-a"
    assert "same" not in [f.name for f in host.families()]
    assert [c.name for c in host.conflicts()] == ["same"]
    assert host.family("only").name == "only"


def test_a_pin_settles_who_owns_a_name(site: Site) -> None:
    """For this installation, by distribution, and visibly so in a new process."""
    site.add("acme-a", family_table("same"), family_plugin("Same"))
    site.add("acme-b", family_table("same"), family_plugin("Same"))
    listed = site.run("plugins")
    assert "warning: family 'same' is declared by distributions acme-a and acme-b" in listed.stderr
    assert site.run("plugins", "pin", "family", "same", "acme-b").returncode == 0
    assert "warning" not in site.run("plugins").stderr
    host = site.host()
    assert host.plugin_of_family("same").distribution == "acme-b"
    assert type(host.family("same")).__module__.startswith("acme_b")


def test_a_pin_to_a_distribution_that_does_not_declare_the_name_is_refused(site: Site) -> None:
    """A pin that could never work would hide the conflict."""
    site.add("acme-a", family_table("same"), family_plugin("Same"))
    with pytest.raises(NotFound, match=r"not declared by distribution 'acme-z'; it is declared by \['acme-a'\]"):
        site.host().pin("family", "same", "acme-z")


def test_a_pin_leaves_the_rest_of_the_configuration_alone(site: Site) -> None:
    """Other tables of config.toml survive."""
    site.add("acme-a", family_table("same"), family_plugin("Same"))
    site.home.mkdir()
    (site.home / "config.toml").write_text('[mine]\nkey = "value"\n')
    site.host().pin("family", "same", "acme-a")
    assert 'key = "value"' in (site.home / "config.toml").read_text()


def test_a_damaged_configuration_is_named(site: Site) -> None:
    """Not TOML, or pins of the wrong shape."""
    site.home.mkdir()
    (site.home / "config.toml").write_text("[plugins")
    with pytest.raises(InvalidInput, match=r"config\.toml in HEADSTOCK_HOME is not TOML"):
        site.host()
    (site.home / "config.toml").write_text("[plugins.pins]\nfamily = 3\n")
    with pytest.raises(InvalidInput, match=r"\[plugins\.pins\] in config\.toml is not"):
        site.host()


def test_two_distributions_with_one_plugin_name_are_both_refused_until_pinned(site: Site) -> None:
    """Path order decides nothing."""
    site.add("acme", family_table("one"), family_plugin("One"), distribution="first")
    site.add("acme", family_table("two"), family_plugin("Two"), distribution="second")
    states = {s.distribution: s for s in site.host().states() if s.name == "acme"}
    assert {s.state for s in states.values()} == {State.BROKEN}
    assert "first and second" in states["first"].reason
    site.host().pin("plugin", "acme", "second")
    host = site.host()
    assert {s.distribution: s.state for s in host.states() if s.name == "acme"} == {
        "first": State.DISABLED,
        "second": State.OK,
    }
    assert host.family("two").name == "two"


def test_the_allow_list_decides_what_may_be_imported(site: Site) -> None:
    """HEADSTOCK_PLUGINS: a plugin that is left out is listed as DISABLED, and its names say so."""
    site.add("acme", family_table("acme"), family_plugin("Acme"))
    site.environment["HEADSTOCK_PLUGINS"] = "headstock-text"
    host = site.host()
    assert {s.name: s.state for s in host.states()}["acme"] is State.DISABLED
    assert "bert" in [f.name for f in host.families()]
    with pytest.raises(PluginError, match=r"family 'acme' is offered by plugin 'acme' .* which is DISABLED"):
        host.family("acme")
    site.environment["HEADSTOCK_PLUGINS"] = ""
    assert site.host().manifests() == []


# ----------------------------------------------------------------------------------------- recognition
def test_a_source_finds_the_family_that_recognises_it(site: Site) -> None:
    """By asking families, and only those whose manifest says that they read this model type."""
    site.add("acme", family_table("acme", '"acme"'), family_plugin("Acme"))
    other = site.add("other", family_table("other", '"other"'), family_plugin("Other", reads="acme"))
    assert site.host().family_for(source(model_type="acme")).name == "acme"
    assert f"{other}.plugin" not in sys.modules


def test_a_source_that_two_families_recognise_is_refused_with_both_named(site: Site) -> None:
    """The caller chooses; no order decides."""
    site.add("acme", family_table("acme"), family_plugin("Acme"))
    site.add("other", family_table("other"), family_plugin("Other"))
    with pytest.raises(Conflict, match=r"families \['acme', 'other'\] all recognise 'path:nowhere'") as caught:
        site.host().family_for(source(model_type="acme"))
    assert caught.value.fix == "say which one: --family acme"


def test_a_source_that_nobody_recognises_is_refused_with_what_it_says_of_itself(site: Site) -> None:
    """And with the families that there are, and the plugins that failed to answer."""
    site.add("acme", family_table("acme"), "raise RuntimeError('half built')")
    with pytest.raises(NotFound, match=r"model_type 'quux'; families are \['acme', .*'bert'.*RuntimeError: half built"):
        site.host().family_for(source(model_type="quux"))


def test_a_source_that_only_a_contested_family_reads_names_the_conflict(site: Site) -> None:
    """Not "nobody recognises it": the pin is what helps."""
    site.add("acme-a", family_table("same", '"acme"'), family_plugin("Same"))
    site.add("acme-b", family_table("same", '"acme"'), family_plugin("Same"))
    with pytest.raises(Conflict, match="acme-a and acme-b"):
        site.host().family_for(source(model_type="acme"))


def test_a_family_that_raises_while_judging_does_not_stop_the_others(site: Site) -> None:
    """Its fault is its own."""
    code = family_plugin("Bad").replace("return files.config.get", "return files.nothing.get")
    site.add("bad", family_table("bad"), code)
    site.add("acme", family_table("acme"), family_plugin("Acme"))
    assert site.host().family_for(source(model_type="acme")).name == "acme"


# --------------------------------------------------------------------------------------- other additions
COMMAND = '[[commands]]\nname = "greet"\nhelp = "Say hello."\n'
GREET = """
import click
@click.command("greet")
def greet(): click.echo("hello")
@hookimpl
def cli_commands(): return [greet]
"""


def test_a_plugin_adds_a_command(site: Site) -> None:
    """Listed in --help from the manifest; imported when it runs."""
    package = site.add("acme", COMMAND, GREET)
    help_ = site.run("--help", code=MODULES_AFTER)
    assert "Say hello." in help_.stdout
    assert f"{package}.plugin" not in help_.stderr
    assert site.run("greet").stdout == "hello\n"


OBJECTIVE = """
class Guess(Objective):
    name, modality, tap, figure = "acme-guess", "text", "mean", "hits"
    default_options = build = view = terms = lambda self, *rest: None
@hookimpl
def objectives(): return [Guess()]
"""
OBJECTIVE_TABLE = '[[objectives]]\nname = "acme-guess"\nmodality = "text"\n'


def test_a_plugin_adds_an_objective(site: Site) -> None:
    """Listed from the manifest, and looked up by name; two that claim one name get nothing."""
    site.add("acme", OBJECTIVE_TABLE, OBJECTIVE)
    host = site.host()
    assert "acme-guess" in [entry.name for entry in host.objectives()]
    assert host.objective("acme-guess").figure == "hits"
    assert host.plugin_of_objective("acme-guess").name == "acme"
    site.add("rival", OBJECTIVE_TABLE, OBJECTIVE)
    with pytest.raises(Conflict, match="acme and rival"):
        site.host().objective("acme-guess")


@pytest.mark.parametrize(
    "old, new, message",
    [
        ('"text", "mean"', '"image", "mean"', "has modality 'image' but its manifest says 'text'"),
        ('"mean", "hits"', "3, 4", "has tap 3; expected a str"),
        ("[Guess()]", "[]", "returned \\[\\] but its manifest declares"),
    ],
)
def test_an_objective_that_is_not_what_the_manifest_says_is_refused(
    site: Site, old: str, new: str, message: str
) -> None:
    site.add("acme", OBJECTIVE_TABLE, OBJECTIVE.replace(old, new))
    with pytest.raises(PluginError, match=message):
        site.host().objective("acme-guess")


def test_a_tracker_that_fails_is_logged_and_the_others_are_returned(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """Callbacks are extras: losing one may not lose a fine-tune."""
    tracker = "class T(FinetuneCallback): pass\n@hookimpl\ndef finetune_callbacks(): return [T()]\n"
    site.add("good", 'hooks = ["finetune_callbacks"]\n', tracker)
    site.add("bad", 'hooks = ["finetune_callbacks"]\n', tracker.replace("[T()]", "[1 / 0]"))
    with caplog.at_level(logging.WARNING):
        assert [type(c).__name__ for c in site.host().callbacks()] == ["T"]
    assert "plugin 'bad' (distribution bad 1.0): calling its hook finetune_callbacks() failed" in caplog.text


def test_a_plugin_adds_licence_evidence(site: Site) -> None:
    """Records are gathered as they are; nothing is concluded from them."""
    code = "@hookimpl\ndef licence_records(): return [LicenceRecord('hf:acme/base', 'MIT', 'https://acme.example/licence')]\n"
    site.add("acme", 'hooks = ["licence_records"]\n', code)
    assert ("hf:acme/base", "MIT") in [(r.subject, r.licence) for r in site.host().licence_records()]


def test_a_check_imports_everything_and_says_what_is_wrong(site: Site) -> None:
    """`headstock plugins check` exits 1 when a plugin is at fault and prints the reason and the fix."""
    site.add("acme", family_table("acme"), "import no_such_module_anywhere")
    done = site.run("plugins", "check", "acme")
    assert done.returncode == 1
    assert "BROKEN" in done.stdout
    assert "ModuleNotFoundError: No module named 'no_such_module_anywhere'" in done.stdout
    assert "try: pip install no_such_module_anywhere" in done.stdout


def test_a_plugin_that_failed_is_listed_as_broken_and_recovers_by_itself(site: Site) -> None:
    """The listing remembers; the next use tries again, for what was missing may be there now."""
    package = site.add("acme", family_table("acme"), "import soon_here\n" + family_plugin("Acme"))
    with pytest.raises(PluginError, match="No module named 'soon_here'"):
        site.host().family("acme")
    state = {s.name: s for s in site.host().states()}["acme"]
    assert (state.state, "soon_here" in state.reason) == (State.BROKEN, True)
    (site.folder / "soon_here.py").write_text("")
    sys.modules.pop(f"{package}.plugin", None)
    assert site.host().family("acme").name == "acme"
    assert {s.name: s for s in site.host().states()}["acme"].state is State.OK


def test_a_home_that_cannot_be_written_does_not_stop_a_plugin(site: Site) -> None:
    """What is remembered is a convenience."""
    site.home.write_text("a file where the folder should be")
    site.add("acme", family_table("acme"), family_plugin("Acme"))
    assert PluginHost(site.settings()).states()
    assert site.host().family("acme").name == "acme"
