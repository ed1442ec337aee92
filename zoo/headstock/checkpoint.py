"""Reading a pulled checkpoint without trusting it: no code named by a config, no pickle, every weight accounted for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstock.errors import InvalidInput, Unsupported

if TYPE_CHECKING:
    import torch

WEIGHTS = "model.safetensors"

# Keys that make transformers import code or swap kernels that the config's author chose.
_CODE_KEYS = ("auto_map", "custom_pipelines", "trust_remote_code")
_CODE_PREFIXES = ("_attn_implementation", "_experts_implementation")

_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "model.ckpt")


def check_config(config: Mapping[str, Any], what: str = "config.json") -> None:
    """Refuse a configuration that names code or kernels, at any depth; raises `InvalidInput`."""
    for key, value in config.items():
        if key in _CODE_KEYS or key.startswith(_CODE_PREFIXES):
            raise InvalidInput(
                f"{what} has the key {key!r}, which chooses code to run; expected plain sizes and options",
                fix=f"remove {key!r} from config.json if the architecture is a standard one",
            )
        if isinstance(value, Mapping):
            check_config(value, f"{what} ({key})")


def plain_value(config: Mapping[str, Any], key: str, default: int | float | str) -> int | float | str:
    """The value of `key`, of the type of `default`, so that 1e-12 and "1e-12" cannot name two architectures.

    Raises `InvalidInput` for a value of another type; an absent or null one is the default.
    """
    value = config.get(key)
    if value is None:
        return default
    wanted = type(default)
    fits = isinstance(value, (int, float) if wanted is float else wanted)
    # To Python, True is an int.
    fits = fits and isinstance(value, bool) == (wanted is bool)
    if not fits:
        raise InvalidInput(f"config.json: {key} is {value!r:.60}; expected a {wanted.__name__} such as {default!r}")
    return float(value) if wanted is float else value


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a source's file, or empty if there is no such file; raises `InvalidInput`."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidInput(f"{path.name} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidInput(f"{path.name} holds a {type(value).__name__}; expected a JSON object")
    return value


def weights_file(root: Path, spec: str) -> Path:
    """The source's safetensors file; raises `InvalidInput` for pickled weights and `Unsupported` for shards."""
    path = root / WEIGHTS
    if path.is_file():
        return path
    if (root / f"{WEIGHTS}.index.json").is_file():
        raise Unsupported(
            f"{spec!r} splits its weights over several safetensors files; expected one {WEIGHTS}",
            fix="save it again with transformers: save_pretrained(DIR, max_shard_size='100GB')",
        )
    for name in _PICKLES:
        if (root / name).is_file():
            raise InvalidInput(
                f"{spec!r} has only {name!r}, a pickle, and pickles can run code; expected {WEIGHTS!r}",
                fix="use a revision that has model.safetensors (on the hub: refs/pr/...), or convert it in a sandbox "
                "with transformers save_pretrained",
            )
    raise InvalidInput(f"{spec!r} has no {WEIGHTS!r}")


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file by name; raises `InvalidInput` for a file that is none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (SafetensorError, ValueError) as error:
        raise InvalidInput(f"{path.name} is not a readable safetensors file: {error}") from error
    return tensors


def load_strict(
    module: torch.nn.Module,
    tensors: Mapping[str, torch.Tensor],
    *,
    rename: Callable[[str], str | None],
    what: str,
) -> None:
    """Fill `module` from `tensors`, whose names `rename` maps to the module's own; None drops a tensor on purpose.

    Floating-point weights become FP32. Raises `InvalidInput` for a weight that is missing, of the wrong shape, or
    left over: a network with a layer too few computes something, only not what its authors trained.
    """
    state = module.state_dict()
    found = {new: tensor for old, tensor in tensors.items() if (new := rename(old)) is not None}
    missing, extra = sorted(set(state) - set(found)), sorted(set(found) - set(state))
    if missing:
        raise InvalidInput(f"{what} lacks {_some(missing)}; its config.json promises them")
    if extra:
        raise InvalidInput(f"{what} has {_some(extra)}, for which its config.json has no place")
    for name, tensor in found.items():
        if tensor.shape != state[name].shape:
            raise InvalidInput(
                f"weight {name!r} of {what} has shape {list(tensor.shape)}; "
                f"config.json promises {list(state[name].shape)}"
            )
    converted = {name: t.float() if t.is_floating_point() else t for name, t in found.items()}
    module.load_state_dict(converted, strict=True)


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    shown = ", ".join(listed[:3])
    return f"{len(listed)} weight{'s' if len(listed) > 1 else ''} ({shown}{', ...' if len(listed) > 3 else ''})"
