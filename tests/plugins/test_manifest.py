"""Manifests: what a plugin declares is typed data, and every mistake in it is named with its place."""

from __future__ import annotations

import inspect
import textwrap
from importlib.resources import files

import pytest

from headstock.errors import InvalidInput
from headstock.plugin_host import Manifest
from headstock.plugin_host import manifest as manifests

HEAD = 'name = "headstock-acme"\napi = ">=1.0,<2"\nlicence = "MIT"\n'
FAMILY = '[[families]]\nname = "acme"\nmodality = "text"\n'
PRESET = '[[families.presets]]\nname = "base"\nsource = "hf:acme/base"\n'


def parse(text: str, name: str = "headstock-acme") -> Manifest:
    """The manifest of distribution headstock-acme 1.0."""
    value = manifests.parse_toml(text.encode())
    return manifests.parse(value, name=name, package="headstock_acme", distribution="headstock-acme", version="1.0")


def test_the_example_in_the_documentation_is_a_valid_manifest() -> None:
    """The module's docstring shows a complete manifest; it parses, and every table arrives."""
    example = textwrap.dedent((inspect.getdoc(manifests) or "").split("\n\n", 1)[1])
    manifest = parse(example)
    assert manifest.families[0].presets[0].licence == "Apache-2.0"
    assert manifest.families[0].model_types == ("acme",)
    assert manifest.families[0].presets[0].parameters == 110_000_000
    assert manifest.heads[0].task == "classification"
    assert manifest.objectives[0].modality == "text"
    assert manifest.commands[0].help == "One line."
    assert manifest.declared_hooks() == {
        "backbone_families",
        "head_types",
        "objectives",
        "cli_commands",
        "finetune_callbacks",
    }


def test_what_a_manifest_leaves_out_has_a_plain_default() -> None:
    """The hook module is PACKAGE.plugin, and nothing is offered."""
    manifest = parse(HEAD)
    assert manifest.module == "headstock_acme.plugin"
    assert (manifest.families, manifest.heads, manifest.commands) == ((), (), ())
    assert manifest.declared_hooks() == frozenset()


@pytest.mark.parametrize(
    "text, message",
    [
        ('name = "headstock-acme"\napi = ">=1.0"\n', "licence is missing"),
        (HEAD.replace('"MIT"', '""'), "licence is ''; expected a string"),
        (HEAD.replace('"MIT"', "3"), "licence is 3; expected a string"),
        (HEAD + FAMILY + PRESET, r"families\[0\].presets\[0\].licence is missing"),
        (
            HEAD + FAMILY + PRESET + 'licence = "MIT"\nparameters = -1\n',
            r"presets\[0\].parameters is -1; expected a num",
        ),
        (HEAD + "famillies = []\n", "famillies is not a known key"),
        (
            HEAD + FAMILY.replace('"acme"', '"Acme Net"'),
            r"families\[0\].name is 'Acme Net'; expected 1 to 64 of a-z",
        ),
        (HEAD + FAMILY + FAMILY, "families has 'acme' twice"),
        (HEAD + "families = 3\n", r"families is 3; expected \[\[families\]\] tables"),
        (HEAD + "families = [3]\n", r"families\[0\]. is 3; expected a table"),
        (HEAD + 'module = "os.path"\n', "module 'os.path' is not a module of package 'headstock_acme'"),
        (HEAD + 'module = "headstock_acme.a b"\n', "is not a module of package"),
        (HEAD + 'capabilities = ["root"]\n', "capabilities is 'root'; expected any of"),
        (HEAD + 'hooks = ["cli_commands"]\n', "hooks is 'cli_commands'; expected any of"),
        (
            HEAD.replace("headstock-acme", "other"),
            "says name = 'other' but the entry point is called 'headstock-acme'",
        ),
        ("name = ", "headstock.toml is not TOML"),
        ("x" * (manifests.MAX_BYTES + 1), "expected at most 1048576"),
        (HEAD + "[[commands]]\n" * (manifests.MAX_ENTRIES + 1), "1001 commands; expected at most 1000"),
    ],
)
def test_a_mistake_is_refused_with_its_place_and_what_was_expected(text: str, message: str) -> None:
    """Which key, what it is, what it should be."""
    with pytest.raises(InvalidInput, match=message):
        parse(text)


def test_a_misspelt_key_names_the_nearest_one() -> None:
    """The fix says what was probably meant."""
    with pytest.raises(InvalidInput) as caught:
        parse(HEAD + "famillies = []\n")
    assert caught.value.fix == "did you mean 'families'?"


def test_the_text_plugin_states_a_licence_and_a_source_for_every_preset() -> None:
    """First-party data obeys the rules, and no revision is a guess: none or a full commit."""
    text = files("headstock_text").joinpath("headstock.toml").read_bytes()
    manifest = manifests.parse(
        manifests.parse_toml(text),
        name="headstock-text",
        package="headstock_text",
        distribution="x",
        version="1",
    )
    presets = [p for f in manifest.families for p in f.presets]
    assert {p.name: p.licence for p in presets}["bert-base-uncased"] == "Apache-2.0"
    assert all(p.source.startswith("hf:") and len(p.revision) in (0, 40) for p in presets)
