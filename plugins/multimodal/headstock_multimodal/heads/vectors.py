"""Embeddings as the backbone makes them: what image-text retrieval compares."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from headstock.errors import InvalidInput
from headstock.finetune.made import MadeHead, check_licences, publish_made
from headstock.heads.made import identity_form
from headstock.records import Version
from headstock_multimodal.heads.towers import PLUGIN, TAP, Tower

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.plugin_host import PluginHost


def make_vectors(
    catalogue: Catalogue,
    host: PluginHost,
    tower: Tower,
    name: str,
    tap: str = TAP,
    say: Callable[[str], None] = lambda line: None,
) -> Version:
    """Publish a model that answers a tap's own vectors, brought to length 1, as the next version of `name`.

    Vectors of two towers compare if their models name the same space. Raises `NotFound` for an unknown tap,
    `InvalidInput` for one with positions, `LicenceRefused` if the policy refuses the backbone.
    """
    chosen = tower.backbone.identity.tap(tap)
    if len(chosen.shape) != 2:
        fitting = [t.name for t in tower.backbone.identity.taps if len(t.shape) == 2]
        raise InvalidInput(
            f"tap {tap!r} of {tower.name!r} has shape {list(chosen.shape)}; expected one vector per row",
            fix=f"--tap {fitting[0]}" if fitting else None,
        )
    for warning in check_licences(catalogue, (tower,), name):
        say(f"warning: {warning}")
    # Only the tower's place in the space compares with another tower.
    space = tower.space if tap == TAP else None
    head = MadeHead(
        type=f"{tower.reads}-embedding",
        task="embedding",
        plugin=PLUGIN,
        standing=tower,
        tap=tap,
        form=identity_form(chosen.width),
        spec={"kind": "embedding", "width": chosen.width, "normalise": True},
        report={"space": None if space is None else dict(space)},
        details={} if space is None else {"space": space["digest"]},
    )
    return publish_made(catalogue, host, name, head)
