"""What names a backbone: the digest of its weights and the identity that everything it computes follows from."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from headstock.digest import Digest, digest_tensors
from headstock.errors import PluginError
from headstock.hookspecs import BackboneFamily, SourceFiles
from headstock.preprocess import PreprocessSpec
from headstock.records import BackboneIdentity

if TYPE_CHECKING:
    import torch

_NAMES = {"f4": "F32", "i8": "I64", "i4": "I32", "i2": "I16", "i1": "I8", "u1": "U8", "b1": "BOOL"}


def weights_digest(module: torch.nn.Module) -> Digest:
    """Digest of the module's state, buffers included; see `state_digest`."""
    return state_digest(module.state_dict())


def state_digest(state: Mapping[str, torch.Tensor]) -> Digest:
    """Digest of tensors by name; floats as FP32, so FP16 files of equal values agree.

    Tied tensors count under each of their names: what matters is what every name holds, not how memory is shared.
    Raises `PluginError` for a type that no served graph has (complex).
    """
    import torch

    tensors = {}
    for name, tensor in state.items():
        value = tensor.detach().cpu().contiguous()
        array = (value.to(torch.float32) if value.is_floating_point() else value).numpy()
        code = array.dtype.str[1:]
        if code not in _NAMES:
            raise PluginError(f"weight {name!r} has type {array.dtype}; expected floating point, integer or bool")
        if sys.byteorder == "big":
            array = array.astype(array.dtype.newbyteorder("<"))
        # An empty array has no bytes to view.
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else b""
        tensors[name] = (_NAMES[code], array.shape, data)
    return digest_tensors(tensors)


def identify(
    family: BackboneFamily, files: SourceFiles, module: torch.nn.Module, preprocess: PreprocessSpec
) -> BackboneIdentity:
    """The identity of a loaded backbone."""
    return BackboneIdentity(
        family=family.name,
        architecture=dict(family.architecture(files)),
        weights=weights_digest(module),
        preprocess=preprocess.digest,
        taps=tuple(family.taps(module)),
        inputs=tuple(family.inputs(module)),
        padding=family.padding,
    )
