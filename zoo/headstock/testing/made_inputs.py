"""Made-up inputs of a backbone, in the ranges that its preprocessing states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headstock.hookspecs import BackboneFamily, SourceFiles
from headstock.testing.results import Broken

if TYPE_CHECKING:
    import torch

_VOCABULARY = 40


class MadeInputs:
    """Integers for INT64, a mask of ones for `attention_mask`, noise for FP32."""

    def __init__(self, family: BackboneFamily, files: SourceFiles, module: torch.nn.Module) -> None:
        self._family, self._module = family, module
        options = _options(family, files)
        self._vocabulary = _vocabulary(options)
        least = options.get("min_samples")
        self.unit = least if isinstance(least, int) and least > 0 else 1
        """Steps of a free axis that the network needs for one frame."""

    def batch(self, rows: int, frames: int, seed: int) -> dict[str, torch.Tensor]:
        """Inputs by name whose free axes are `frames` units long. Raises `Broken` for a datatype that none can be."""
        import torch

        generator = torch.Generator().manual_seed(seed)
        made: dict[str, torch.Tensor] = {}
        for spec in self._family.inputs(self._module):
            shape = [rows, *(frames * self.unit if axis < 0 else axis for axis in spec.shape[1:])]
            if spec.name == "attention_mask":
                made[spec.name] = torch.ones(shape, dtype=torch.int64)
            elif spec.name == "token_type_ids":
                made[spec.name] = torch.zeros(shape, dtype=torch.int64)
            elif spec.datatype == "INT64":
                # The first two are often padding and the unknown.
                least = min(2, self._vocabulary - 1)
                made[spec.name] = torch.randint(least, self._vocabulary, shape, generator=generator)
            elif spec.datatype == "FP32":
                made[spec.name] = torch.randn(shape, generator=generator)
            else:
                raise Broken(f"input {spec.name!r} has datatype {spec.datatype!r}; expected INT64 or FP32")
        return made


def _options(family: BackboneFamily, files: SourceFiles) -> Mapping[str, Any]:
    try:
        return family.preprocess(files).options
    except Exception:
        # The check of preprocess() reports it; the others go on with what can be assumed.
        return {}


def _vocabulary(options: Mapping[str, Any]) -> int:
    """How many different whole numbers an input may hold."""
    if "columns" in options:
        from headstock.preprocess.table_options import TableOptions

        return min(TableOptions.parse(options).cardinalities, default=_VOCABULARY)
    stated = options.get("vocab_size")
    return stated if isinstance(stated, int) and stated > 0 else _VOCABULARY
