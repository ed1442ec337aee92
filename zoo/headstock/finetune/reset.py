"""Fresh weights for a loaded network: where training from scratch begins."""

from __future__ import annotations

import torch

_SCALE = 0.02
"""Standard deviation of weights that no layer initialises itself, such as position tables (Devlin et al. 2019)."""


def reset(module: torch.nn.Module) -> None:
    """Draw all parameters anew from torch's current generator, and clear the statistics of norms.

    Layers initialise themselves as torch does; a parameter that belongs to no such layer is drawn from N(0, 0.02) if it
    has two axes or more, and is 0, or 1 for a scale called `weight`, if it has fewer.
    """
    with torch.no_grad():
        for part in module.modules():
            fresh = getattr(part, "reset_parameters", None)
            if callable(fresh):
                fresh()
                continue
            for name, parameter in part.named_parameters(recurse=False):
                if parameter.ndim >= 2:
                    parameter.normal_(0.0, _SCALE)
                else:
                    parameter.fill_(1.0 if name.endswith("weight") else 0.0)
