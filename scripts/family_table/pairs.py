"""Which heads fit which backbones: the tap that a head stands on, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from headstock.finetune.taps import default_tap
from headstock.hookspecs import BackboneFamily, HeadType
from headstock.plugin_host import PluginHost
from headstock.records import Tap
from headstock.sources import fetch
from headstock.testing.cases import FamilyCase, read_cases

DISTRIBUTION = "headstock"
"""Plugins of other distributions on this machine have no place on our page."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What a head type stands on."""

    tap: str | None
    """None: nothing that fits."""
    reason: str = ""
    """Why not."""


def family_cases(host: PluginHost) -> list[FamilyCase]:
    """The plugins' own tiny checkpoints by modality: one for every family, or several where it has several kinds."""
    ours = [manifest for manifest in host.manifests() if manifest.distribution == DISTRIBUTION]
    # Plugins with heads of their own first: CLIP's towers stand behind the families of the modality that they join.
    ours.sort(key=lambda manifest: not manifest.heads)
    cases = [c for manifest in ours for c in read_cases(manifest) if isinstance(c, FamilyCase)]
    declared = [family.name for manifest in ours for family in manifest.families]
    if missing := sorted(set(declared) - {case.family for case in cases}):
        raise SystemExit(f"error: no tiny checkpoint of {missing}; add a FamilyCase to the plugin's checks.py")
    order = ("text", "image", "audio", "tabular")
    return sorted(cases, key=lambda case: order.index(host.family(case.family).modality))


def taps_of(family: BackboneFamily, case: FamilyCase, folder: Path) -> Sequence[Tap]:
    """The taps of a case's checkpoint, which is written into the empty folder `folder`."""
    case.files(folder / "checkpoint")
    return family.taps(family.load(fetch(f"path:{folder / 'checkpoint'}", folder / "fetched").files))


def head_types(host: PluginHost, modality: str) -> Iterator[HeadType]:
    """Head types of this modality, in the order of the manifests."""
    for manifest in host.manifests():
        if manifest.distribution == DISTRIBUTION:
            yield from (host.head_type(h.name) for h in manifest.heads if h.modality == modality)


def fit(head: HeadType, taps: Sequence[Tap]) -> Fit:
    """The tap that this head stands on when nobody names one."""
    chosen = default_tap(head, taps)
    if chosen in [tap.name for tap in taps]:
        return Fit(chosen)
    return Fit(None, f"needs a tap `{head.tap}`; this family has none")
