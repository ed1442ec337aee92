"""Evidence about licences: what each source says, never more, and never a permissive default."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from headstock.records import artefact_of
from headstock.sources.evidence import (
    card_statements,
    config_statements,
    folder_statements,
    licence_file_statements,
    licence_statement,
    package_statements,
)
from headstock.sources.licence_ids import normalise
from headstock.sources.licence_text import recognise
from headstock.sources.plugin_code import code_evidence

ROOT = Path(__file__).parents[2]
MIT = """MIT License

Copyright (c) 2020 A. Person and others

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


@pytest.mark.parametrize(
    "written, spdx",
    [
        ("apache-2.0", "Apache-2.0"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("mit", "MIT"),
        ("MIT License", "MIT"),
        ("bsd-3-clause", "BSD-3-Clause"),
        ("cc-by-nc-sa-4.0", "CC-BY-NC-SA-4.0"),
        ("CC-BY-4.0", "CC-BY-4.0"),
        ("gpl-3.0", "GPL-3.0-only"),
        ("Apache-2.0 OR MIT", "Apache-2.0 OR MIT"),
    ],
)
def test_an_unmistakable_name_becomes_its_spdx_expression(written: str, spdx: str) -> None:
    assert normalise(written) == spdx


@pytest.mark.parametrize(
    "written",
    ["", "other", "unknown", "gpl", "cc", "bsd", "llama2", "gemma", "openrail", "BSD", "apache", "see LICENSE", "free"],
)
def test_a_family_or_a_stand_in_is_no_licence(written: str) -> None:
    """`gpl` names neither a version nor "or later"; guessing one would be a false statement."""
    assert normalise(written) == "NOASSERTION"


@pytest.mark.parametrize(
    "distribution, spdx",
    [
        ("click", "BSD-3-Clause"),
        ("pluggy", "MIT"),
        ("fsspec", "BSD-3-Clause"),
        ("huggingface-hub", "Apache-2.0"),
        # Apache-2.0 followed by two other licences for parts of it.
        ("grpcio", "NOASSERTION"),
        ("pygments", "BSD-2-Clause"),
    ],
)
def test_licence_texts_in_the_wild_are_recognised(distribution: str, spdx: str) -> None:
    files = metadata.files(distribution) or []
    text = next(f for f in files if f.name.startswith("LICENSE")).read_text()
    assert recognise(text) == spdx


def test_the_projects_own_licence_is_recognised() -> None:
    assert recognise((ROOT / "LICENSE").read_text()) == "Apache-2.0"


@pytest.mark.parametrize(
    "changed",
    [
        MIT.replace("free of charge", "for a fee"),
        MIT.replace("publish, ", ""),
        MIT + "\nThe model may not be used commercially.\n",
        MIT.replace("A. Person and others", "A. Person. For research use only."),
        MIT.replace("MIT License", "Modified MIT License"),
        MIT[:600],
        "Licensed under MIT.",
        "",
    ],
)
def test_a_changed_or_extended_text_is_another_licence(changed: str) -> None:
    assert recognise(MIT) == "MIT"
    assert recognise(changed) == "NOASSERTION"


def test_a_changed_apache_text_is_another_licence() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert recognise(text.replace("perpetual,", "revocable,")) == "NOASSERTION"
    assert recognise(text + "\nExcept for military use.\n") == "NOASSERTION"
    assert recognise("Research use only.\n" + text) == "NOASSERTION"


def test_a_text_that_is_not_understood_is_kept_in_its_own_words(tmp_path: Path) -> None:
    path = tmp_path / "LICENSE"
    path.write_text("ACME COMMUNITY LICENSE\n\n  1. You may look at it.")
    (statement,) = licence_file_statements(path, "path:x/LICENSE")
    assert (statement.value, statement.raw) == ("NOASSERTION", "ACME COMMUNITY LICENSE 1. You may look at it.")


def card(tmp_path: Path, front: str) -> Path:
    path = tmp_path / "README.md"
    path.write_text(f"---\n{front}\n---\n# A model\nlicense: mit\n")
    return path


@pytest.mark.parametrize(
    "front, value, raw",
    [
        ("license: apache-2.0", "Apache-2.0", "apache-2.0"),
        ("language: en\nlicense: 'mit'\ntags:\n- x", "MIT", "mit"),
        ("license:\n- mit", "MIT", "mit"),
        ("license:\n- mit\n- apache-2.0", "NOASSERTION", "mit, apache-2.0"),
        ("license: other\nlicense_name: acme\nlicense_link: LICENSE", "NOASSERTION", "other; license_name: acme"),
        ("language: en", "NOASSERTION", ""),
        ("license: [unclosed", "NOASSERTION", "[unclosed"),
        ("license: !!python/object/apply:os.system ['true']", "NOASSERTION", "!!python"),
    ],
)
def test_a_cards_front_matter_is_what_counts(tmp_path: Path, front: str, value: str, raw: str) -> None:
    (statement,) = card_statements(card(tmp_path, front), "hf:a/b@c/README.md")
    assert (statement.source, statement.value, statement.locator) == ("card", value, "hf:a/b@c/README.md")
    assert statement.raw.startswith(raw)


def test_a_card_without_front_matter_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("# A model\n\nlicense: mit\n")
    assert [s.value for s in card_statements(path, "x")] == ["NOASSERTION"]


def test_a_card_names_its_base_models_as_parents(tmp_path: Path) -> None:
    statements = card_statements(card(tmp_path, "license: mit\nbase_model:\n- acme/base\n- not a name"), "x")
    assert [(s.field, s.value) for s in statements] == [("licence", "MIT"), ("parent", "hf:acme/base")]


@pytest.mark.parametrize(
    "config, parents",
    [
        ({"_name_or_path": "nreimers/MiniLM-L6-H384-uncased"}, ["hf:nreimers/MiniLM-L6-H384-uncased"]),
        ({"_name_or_path": "/home/someone/checkpoints/run-7"}, []),
        ({"_name_or_path": "../run-7"}, []),
        ({"_name_or_path": "acme/itself"}, []),
        ({"_name_or_path": ""}, []),
        ({}, []),
    ],
)
def test_the_configs_parent_counts_unless_it_is_a_folder_or_itself(config: dict[str, str], parents: list[str]) -> None:
    assert [s.value for s in config_statements(config, "acme/itself", "x/config.json")] == parents


def test_package_metadata_may_hold_an_expression_a_name_or_a_whole_text() -> None:
    from email.message import Message

    message = Message()
    message["License-Expression"] = "Apache-2.0 OR MIT"
    message["License"] = MIT
    found = [(s.value, s.raw.partition(":")[0]) for s in package_statements(message, "x")]
    assert found == [("Apache-2.0 OR MIT", "License-Expression"), ("MIT", "License")]
    assert package_statements(Message(), "x") == []


def test_a_voice_says_what_it_is_about_where_that_is_known(tmp_path: Path) -> None:
    """Hubs, cards and weight tags speak of weights; a plain LICENSE in a repository of both does not say."""
    for name in ("LICENSE", "MODEL_LICENSE", "LICENSE-WEIGHTS.txt"):
        (tmp_path / name).write_text(MIT)
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    config = {"pretrained_cfg": {"license": "cc-by-nc-4.0"}}
    said = {s.locator.partition("/")[2]: s.scope for s in folder_statements(tmp_path, config, "x")}
    assert said == {
        "README.md": "weights",
        "LICENSE": "",
        "MODEL_LICENSE": "weights",
        "LICENSE-WEIGHTS.txt": "weights",
        "config.json#pretrained_cfg": "weights",
    }
    assert licence_statement("mit", "hub-tag", "x").scope == "weights"


def test_the_code_of_an_installed_plugin_says_its_licence() -> None:
    """Of the version that is installed and of no other."""
    installed = metadata.version("headstock")
    plugin = artefact_of("plugin", {"kind": "plugin", "distribution": "headstock", "version": installed})
    found = code_evidence(plugin)
    assert {(s.value, s.scope, s.subject) for s in found} == {("Apache-2.0", "code", plugin.digest)}
    assert {s.locator for s in found} >= {f"distribution:headstock@{installed}/METADATA"}
    for other in ({"distribution": "headstock", "version": "0.0.0"}, {"distribution": "no-such-thing", "version": "1"}):
        assert code_evidence(artefact_of("plugin", {"kind": "plugin", **other})) == ()


def test_a_hub_tag_that_is_absent_is_noassertion() -> None:
    assert licence_statement(None, "hub-tag", "x").value == "NOASSERTION"


def test_the_licence_of_timms_weight_tag_is_the_configurations_word() -> None:
    """`pretrained_cfg` carries it; a tag without one says nothing."""
    tag = {"tag": "fb_swsl_ig1b_ft_in1k", "license": "cc-by-nc-4.0"}
    (found,) = config_statements({"architecture": "resnet50", "pretrained_cfg": tag}, "", "hf:timm/x/config.json")
    assert (found.field, found.value, found.source) == ("licence", "CC-BY-NC-4.0", "config")
    assert config_statements({"architecture": "resnet50", "pretrained_cfg": {"tag": "a"}}, "", "x") == []
