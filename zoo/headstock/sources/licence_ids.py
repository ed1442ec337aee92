"""Licence names as sources write them, turned into SPDX expressions or `NOASSERTION`; never a permissive guess."""

from __future__ import annotations

import re

NOASSERTION = "NOASSERTION"

# Families and stand-ins, no licences: `gpl` says neither the version nor "or later", `llama` has one text per version.
_FAMILIES = """
afl agpl artistic bsd cc cc-by cc-by-nc gpl lgpl openrail openrail++ creativeml creativeml-openrail-m
bigscience-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m gemma llama llama2 llama3 llama3.1 llama3.2 llama3.3
llama4 deepfloyd-if-license apple-ascl apple-amlr fair-noncommercial-research-license intel-research grok2-community
other unknown none n/a custom proprietary commercial
"""

# What hubs and packages write that the SPDX parser does not read, or reads as something else.
_ALIASES = {
    "apache": NOASSERTION,
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license 2.0": "Apache-2.0",
    "apache2": "Apache-2.0",
    "the mit license": "MIT",
    "mit license": "MIT",
    "bsd 2-clause": "BSD-2-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "3-clause bsd": "BSD-3-Clause",
    "new bsd": "BSD-3-Clause",
    "cc0": "CC0-1.0",
    "gpl-2.0": "GPL-2.0-only",
    "gpl-3.0": "GPL-3.0-only",
    "agpl-3.0": "AGPL-3.0-only",
    "lgpl-2.1": "LGPL-2.1-only",
    "lgpl-3.0": "LGPL-3.0-only",
    "odbl": "ODbL-1.0",
    "odc-by": "ODC-By-1.0",
    "pddl": "PDDL-1.0",
    "ms-pl": "MS-PL",
    "eupl-1.1": "EUPL-1.1",
}


def normalise(text: str) -> str:
    """The SPDX expression that `text` names without doubt, else `NOASSERTION`."""
    plain = " ".join(text.split()).strip().lower()
    if plain in _ALIASES:
        return _ALIASES[plain]
    if not plain or plain in _FAMILIES.split() or len(plain) > 200 or re.search(r"[^\w\s.+()-]", plain):
        return NOASSERTION
    from license_expression import get_spdx_licensing

    try:
        checked = get_spdx_licensing().validate(" ".join(text.split()), strict=True)
    except AttributeError:
        # The library stumbles over its own error for an expression that ends in the middle: "MIT AND".
        return NOASSERTION
    expression = checked.normalized_expression
    if checked.errors or not expression or "LicenseRef-scancode" in expression:
        return NOASSERTION
    return str(expression)
