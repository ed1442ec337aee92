"""What a family must know to read timm's layout of its architecture."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from headstock.checkpoint import check_config
from headstock.errors import Unsupported
from headstock.hookspecs import SourceFiles

if TYPE_CHECKING:
    import torch

# timm's save_for_hf writes these for every network. The first two are about the classifier, which is left out; pooling
# that changes the weights (a norm behind it) shows in their names, which strict loading holds.
_OF_THE_HEAD = ("num_classes", "global_pool")
_CHANNELS = "in_chans"


class TimmLayout(ABC):
    """timm's config.json and weight names of one family. Stateless.

    timm has hundreds of variants under one name's stem (other stems, attention, pooling): those whose function is the
    family's own are listed, and everything else is refused by name instead of computed nearly right.
    """

    pattern: ClassVar[str]
    """Architectures that are read, with groups that `sizes` uses."""
    known: ClassVar[str]
    """The same in words, for messages."""
    arguments: ClassVar[tuple[str, ...]] = ()
    """Keys of `model_args` that `sizes` reads."""

    def architecture(self, files: SourceFiles) -> dict[str, Any]:
        """The family's settings; raises `Unsupported` for a variant that computes something else."""
        check_config(files.config)
        name = str(files.config["architecture"])
        match = re.fullmatch(self.pattern, name)
        if match is None:
            raise Unsupported(f"{files.spec!r} is timm's {name!r}; of timm's this family reads {self.known}")
        arguments = files.config.get("model_args") or {}
        if strange := sorted(set(arguments) - {*self.arguments, *_OF_THE_HEAD, _CHANNELS}):
            raise Unsupported(
                f"{files.spec!r} changes {name!r} by model_args {strange}; expected none but {list(self.arguments)}"
            )
        settings = self.sizes(match, arguments)
        return {**settings, "num_channels": arguments.get(_CHANNELS, self._channels(files))}

    @abstractmethod
    def sizes(self, match: re.Match[str], arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The family's settings but for `num_channels`."""

    @abstractmethod
    def renamed(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The weights under transformers' names without the model's prefix; the classifier is left out.

        What has no place keeps its name, so that strict loading finds and names it.
        """

    @staticmethod
    def _channels(files: SourceFiles) -> Any:
        config = files.config.get("pretrained_cfg") or {}
        return (config.get("input_size") or [3])[0]


def numbered(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    """`name` by the first rule whose pattern is all of it; as it is where there is none."""
    for old, new in rules:
        if match := re.fullmatch(old, name):
            return match.expand(new)
    return name
