"""Write what licence texts are recognised by, out of a folder of them: hashes and sketches, never a text.

    python scripts/licence_texts.py FOLDER

FOLDER holds ScanCode's licence files (`licensedcode/data/licenses` of the scancode-toolkit-mini wheel, data CC-BY-4.0):
YAML front matter with `spdx_license_key`, then the text. Licences that SPDX has no id for are found by file name.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from headstock.licences import library
from headstock.licences.likeness import packed, sketch, words_of
from headstock.licences.texts import words_digest

TARGET = Path(library.__file__).parent / "data" / "texts.toml"

CUSTOM = {
    "bigcode-open-rail-m-v1": "bigcode-openrail-m-1",
    "bigscience-open-rail-m": "bigscience-openrail-m",
    "bigscience-rail-1.0": "bigscience-bloom-rail-1.0",
    "deepseek-la-1.0": "deepseek-1.0",
    "flux-1-nc": "flux-1-dev-nc",
    "gemma-tou-2024-04-01": "gemma-terms-2024-04-01",
    "gemma-tou-2025-03-24": "gemma-terms-2025-03-24",
    "llama-2-license-2023": "llama-2",
    "llama-3.1-license-2024": "llama-3.1",
    "llama-3.2-license-2024": "llama-3.2",
    "llama-3.3-license-2024": "llama-3.3",
    "llama-4-license-2025": "llama-4",
    "nvidia-open-model-2025-04-28": "nvidia-open-model",
    "openmdw-1.0": "OpenMDW-1.0",
    "qwen-2024": "qwen-2024",
    "stability-ai-community-2024": "stability-ai-community-2024",
    "stable-diffusion-2022-08-22": "creativeml-openrail-m",
    "tongyi-qianwen-2023": "tongyi-qianwen-2023",
}
"""ScanCode's file name to the name of our record."""

_FILE = re.compile(r"\A---\n(.*?)\n---\n(.*)\Z", re.DOTALL)
_SPDX = re.compile(r"^spdx_license_key: (\S+)$", re.MULTILINE)
_LATER = re.compile(r"(.+)-or-later")


def main(folder: Path) -> None:
    """Read the folder, write the data file."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.LICENSE")):
        match = _FILE.match(path.read_text(encoding="utf-8"))
        key = match and _SPDX.search(match[1])
        licence = _id(CUSTOM[path.stem]) if path.stem in CUSTOM else key[1] if key else ""
        # What ScanCode keeps for "or later" is a notice before the same text.
        if match and licence in library.ids() and not _LATER.fullmatch(licence):
            found[licence] = match[2]
    lines = ["# What texts are recognised by; made by scripts/licence_texts.py."]
    for licence, text in sorted(found.items()):
        words = words_of(text)
        lines += [
            "",
            f'["{licence}"]',
            f'words = "{words_digest(text)}"',
            f"count = {len(words)}",
            f'sketch = "{packed(sketch(words))}"',
        ]
    TARGET.write_text("\n".join(lines) + "\n")


def _id(name: str) -> str:
    return name if name in library.ids() else library.REF + name


if __name__ == "__main__":
    main(Path(sys.argv[1]))
