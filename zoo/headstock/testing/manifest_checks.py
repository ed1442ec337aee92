"""The contract kit's checks of a manifest: licences, words and names."""

from __future__ import annotations

from headstock.plugin_host import Family, Head, Manifest, PluginHost
from headstock.plugin_host.manifest import ObjectiveEntry
from headstock.sources.licence_ids import NOASSERTION, normalise
from headstock.testing.results import Broken

MODALITIES = ("text", "image", "audio", "tabular")
"""Modalities that preprocessing and serving know."""


def check_manifest(manifest: Manifest) -> str:
    """Licences are SPDX expressions, modalities are known, and everything that is listed says what it is."""
    if not _is_spdx(manifest.licence):
        raise Broken(f"licence {manifest.licence!r} of the plugin is not an SPDX expression such as 'Apache-2.0'")
    presets = [(family, preset) for family in manifest.families for preset in family.presets]
    for family, preset in presets:
        if preset.licence != NOASSERTION and not _is_spdx(preset.licence):
            raise Broken(
                f"licence {preset.licence!r} of preset {preset.name!r} (family {family.name!r}) is not an SPDX "
                f"expression; write {NOASSERTION!r} where nobody said"
            )
    if not manifest.description.strip():
        raise Broken("description is missing")
    entries: list[Family | Head | ObjectiveEntry] = [*manifest.families, *manifest.heads, *manifest.objectives]
    for entry in entries:
        if entry.modality not in MODALITIES:
            raise Broken(f"{entry.name!r} has modality {entry.modality!r}; expected one of {list(MODALITIES)}")
        if not entry.description.strip():
            raise Broken(f"{entry.name!r} has no description, so a listing cannot say what it is")
    if manifest.families and "torch" not in manifest.capabilities:
        raise Broken('a plugin with families runs torch; expected capabilities = ["torch", ...]')
    return f"{manifest.licence}, {len(presets)} presets with licences"


def check_names(host: PluginHost, manifest: Manifest) -> None:
    """Nobody else claims a name of the plugin; raises `Broken` with the other owner and the pin."""
    for conflict in host.conflicts():
        if manifest.distribution in conflict.distributions:
            error = conflict.error()
            raise Broken(f"{error.message} ({error.fix})")


def _is_spdx(text: str) -> bool:
    # A licence of its own has a name of its own; the SPDX list cannot know it.
    return text.startswith("LicenseRef-") or normalise(text) == text
