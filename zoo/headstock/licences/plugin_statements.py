"""What plugins know about weight tags, as statements beside the others: a plugin adds evidence, it never concludes."""

from __future__ import annotations

from collections.abc import Iterable

from headstock.hookspecs import LicenceRecord
from headstock.licences.aliases import NOASSERTION, resolve
from headstock.licences.facts import repository_of
from headstock.plugin_host.manifest import Manifest
from headstock.sources.fetched import Statement


def plugin_statements(records: Iterable[LicenceRecord], label: str) -> list[Statement]:
    """Statements about the source `label` (`hf:ORG/NAME@COMMIT`) from the records of `PluginHost.licence_records`.

    A value that is no licence of ours becomes `NOASSERTION` with the plugin's words.
    """
    found = []
    for record in named(records, label):
        meaning = resolve(record.licence)
        value = str(meaning.expression) if meaning.expression is not None else NOASSERTION
        raw = record.licence if value == NOASSERTION else record.evidence
        found.append(Statement("licence", value, "manifest", record.evidence, raw, "weights"))
    return found


def named(records: Iterable[LicenceRecord], label: str) -> list[LicenceRecord]:
    """The records about the source `label`, whatever its revision."""
    return [record for record in records if repository_of(record.subject) == repository_of(label)]


def preset_records(manifests: Iterable[Manifest], label: str) -> list[LicenceRecord]:
    """What manifests say of the source `label`; a preset that pins a revision speaks of that one only."""
    commit = label.partition("@")[2]
    return [
        LicenceRecord(
            preset.source, preset.licence, f"{manifest.distribution} {manifest.version}: preset {preset.name}"
        )
        for manifest in manifests
        for family in manifest.families
        for preset in family.presets
        if repository_of(preset.source) == repository_of(label)
        and preset.licence != NOASSERTION
        and (not preset.revision or not commit or commit.startswith(preset.revision))
    ]
