"""What plugins know about weight tags, as statements beside the others: a plugin adds evidence, it never concludes."""

from __future__ import annotations

from collections.abc import Iterable

from headstock.hookspecs import LicenceRecord
from headstock.licences.aliases import NOASSERTION, resolve
from headstock.licences.facts import repository_of
from headstock.sources.fetched import Statement


def plugin_statements(records: Iterable[LicenceRecord], label: str) -> list[Statement]:
    """Statements about the source `label` (`hf:ORG/NAME@COMMIT`) from the records of `PluginHost.licence_records`.

    A value that is no licence of ours becomes `NOASSERTION` with the plugin's words.
    """
    wanted = repository_of(label)
    found = []
    for record in records:
        if repository_of(record.subject) == wanted:
            meaning = resolve(record.licence)
            value = str(meaning.expression) if meaning.expression is not None else NOASSERTION
            raw = record.licence if value == NOASSERTION else record.evidence
            found.append(Statement("licence", value, "manifest", record.evidence, raw))
    return found
