"""The audio plugin through the door that every plugin uses: its manifest tells the truth about its hooks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import headstock_audio
from headstock.plugin_host.manifest import FILE_NAME, Manifest, parse, parse_toml
from headstock_audio.plugin import backbone_families, cli_commands


def manifest() -> Manifest:
    package = Path(headstock_audio.__file__).parent
    table = parse_toml((package / FILE_NAME).read_bytes())
    return parse(table, name="headstock-audio", package="headstock_audio", distribution="headstock", version="0")


def test_the_hooks_return_what_the_manifest_declares() -> None:
    declared = manifest()
    families = {family.name: family for family in backbone_families()}
    assert sorted(families) == sorted(family.name for family in declared.families)
    assert all(families[family.name].modality == family.modality for family in declared.families)
    assert [c.name for c in cli_commands()] == [c.name for c in declared.commands]


def test_every_preset_names_its_licence_and_size() -> None:
    presets = [preset for family in manifest().families for preset in family.presets]
    assert {p.licence for p in presets} == {"Apache-2.0", "MPL-2.0"}
    assert all(p.parameters > 1_000_000 and p.input and p.paper for p in presets)


def test_naming_the_families_imports_neither_torch_nor_decoders() -> None:
    code = (
        "import sys; import headstock_audio.plugin as p; p.backbone_families(); p.cli_commands();"
        "print([m for m in ('torch', 'transformers', 'soundfile', 'soxr', 'numpy') if m in sys.modules])"
    )
    path = [str(Path(headstock_audio.__file__).parents[1]), *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}; {code}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "[]"
