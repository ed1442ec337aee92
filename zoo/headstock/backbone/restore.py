"""A backbone of the catalogue as a torch module again, exactly the one that was pulled or trained."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headstock.checkpoint import WEIGHTS, read_json, read_weights
from headstock.digest import Digest, short
from headstock.errors import FailedPrecondition, HeadstockError
from headstock.hookspecs import BackboneFamily, LayerGroup, SourceFiles
from headstock.records import BackboneIdentity
from headstock.stem.record import CUT_ROLES

if TYPE_CHECKING:
    import torch

    from headstock.catalogue import Catalogue
    from headstock.plugin_host import PluginHost

ORIGIN = "origin"
"""Role of the checkpoint that a trained backbone began with, in the family's own layout. Its `weights` are the module's
own state, which fills what `origin` built."""

# Role to the name that families look for.
_NAMES = {
    "config": "config.json",
    "tokenizer": "tokenizer.json",
    "processor": "preprocessor_config.json",
    "vocabulary": "vocab.json",
}
_MADE = ("graph", "preprocess", "certificate", "weights", "recipe", "report", ORIGIN, *CUT_ROLES)


@dataclass(frozen=True, slots=True)
class Restored:
    """A module in eval mode with its layer groups, input to output."""

    module: torch.nn.Module
    groups: tuple[LayerGroup, ...]
    identity: BackboneIdentity
    family: BackboneFamily | None = None
    """What loaded it; None for a module that a caller made."""

    @property
    def group_names(self) -> tuple[str, ...]:
        """Names that a strategy may call live."""
        return tuple(group.name for group in self.groups)


def restore(catalogue: Catalogue, host: PluginHost, digest: Digest, name: str) -> Restored:
    """Load the backbone with that digest, called `name` in messages; its weights are hashed again.

    Raises `FailedPrecondition` for a variant and where the stored files do not give back the very same weights,
    `NotFound` for an unknown backbone and `PluginError` where its family's plugin is gone.
    """
    from headstock.backbone.identity import weights_digest

    artefact = catalogue.artefact(digest)
    identity = BackboneIdentity.from_json(artefact.identity)
    if identity.precision != "fp32":
        raise FailedPrecondition(
            f"backbone {name!r} has precision {identity.precision}: its graph runs, and only FP32 weights are trained",
            fix="--strategy feature-extraction, or train the backbone that it was made from",
        )
    family = host.family(identity.family)
    with tempfile.TemporaryDirectory(prefix="restore-", dir=_scratch(catalogue)) as folder:
        root = Path(folder)
        _lay_out(catalogue, artefact.files, root)
        files = SourceFiles(root, read_json(root / "config.json"), f"backbone {name}")
        module = family.load(files)
        if ORIGIN in artefact.files:
            module.load_state_dict(read_weights(catalogue.store.path(artefact.files["weights"])), strict=True)
        groups: Sequence[LayerGroup] = family.layer_groups(module)
    module.eval().requires_grad_(False)
    found = weights_digest(module)
    if found != identity.weights:
        raise FailedPrecondition(
            f"the stored files of backbone {name!r} load as other weights ({short(found)}) than it was admitted with "
            f"({short(identity.weights)})",
            fix=f"pull it again with this version of {type(family).__module__.partition('.')[0]}; headstock verify",
        )
    return Restored(module, _with_parameters(module, groups), identity, family)


def _scratch(catalogue: Catalogue) -> Path:
    folder = catalogue.settings.cache / "restore"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _lay_out(catalogue: Catalogue, files: Mapping[str, Digest], root: Path) -> None:
    """Put the blobs where the family's loader looks for them."""
    weights = files.get(ORIGIN) or files.get("weights")
    if weights is None:
        raise FailedPrecondition("the backbone was published without its weights, so it cannot be trained further")
    wanted = {role: (blob, _NAMES.get(role, role)) for role, blob in files.items() if role not in _MADE}
    for blob, name in [(weights, WEIGHTS), *wanted.values()]:
        try:
            shutil.copyfile(catalogue.store.path(blob), root / name)
        except OSError as error:
            raise HeadstockError(f"cannot read {name} of the backbone from the store: {error.strerror}") from error


def _with_parameters(module: torch.nn.Module, groups: Sequence[LayerGroup]) -> tuple[LayerGroup, ...]:
    """The groups that hold anything to train."""
    names = [name for name, _ in module.named_parameters()]
    return tuple(group for group in groups if any(name.startswith(group.prefixes) for name in names))
