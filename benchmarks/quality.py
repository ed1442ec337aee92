"""Real quality with fixed seeds: texts, pictures, speech and tables, each against what is simple and well known.

Nothing here is a ratio to a limit: the table says what the product gives, good or bad. `--only PART` runs one part.
"""

from __future__ import annotations

import os

# Before torch and ONNX Runtime are imported: results repeat, and small machines are shared.
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

import _quality_digits
import _quality_speech
import _quality_tables
import _quality_text
from _common import report
from _quality import Cell, Zoo

PARTS: dict[str, Callable[[Zoo, Path], list[Cell]]] = {
    "text": _quality_text.cells,
    "digits": _quality_digits.cells,
    "speech": _quality_speech.cells,
    "tables": _quality_tables.cells,
}


def main() -> int:
    """Measure and print; 0, whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append", help="a part to run; repeatable")
    chosen = parser.parse_args().only or list(PARTS)
    torch.set_num_threads(1)
    disable_progress_bar()
    found: list[Cell] = []
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="headstock-quality-") as folder:
        zoo = Zoo(Path(folder, "home"))
        for part in chosen:
            # Of CPU: the machines that run this are shared. The voices of espeak-ng are not worth counting.
            began = time.process_time()
            found += PARTS[part](zoo, Path(folder, part))
            seconds[part] = time.process_time() - began
            print(f"{part}: {seconds[part]:.0f} CPU s", file=sys.stderr, flush=True)
    results: dict[str, Any] = {"cells": [asdict(cell) for cell in found], "cpu_s": seconds}
    headers = ["task", "method", "metric", "value", "95 % interval", "of"]
    report(f"quality, {sum(seconds.values()):.0f} CPU s in all", headers, [cell.row() for cell in found], results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
