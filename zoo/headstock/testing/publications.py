"""Small publications with every kind of record, for tests of what stands on the catalogue; nothing in them can run."""

from __future__ import annotations

from collections.abc import Sequence

from headstock.digest import Digest, digest_json
from headstock.preprocess import PreprocessSpec
from headstock.records import (
    Artefact,
    Certificate,
    Edge,
    Evidence,
    HeadIdentity,
    ModelIdentity,
    Publication,
    artefact_of,
)
from headstock.store import BlobStore


def backbone_publication(
    store: BlobStore,
    name: str,
    *,
    seed: int = 0,
    family: str = "bert",
    licences: Sequence[tuple[str, str]] = (("Apache-2.0", "card"),),
) -> Publication:
    """A backbone as a pull would publish it, its blobs stored; equal seeds give equal digests.

    `licences` are pairs of licence and kind of source.
    """
    tokenizer = store.put_bytes(f"tokenizer {seed}".encode())
    spec = PreprocessSpec("text", {"seed": seed}, {"tokenizer": tokenizer})
    identity = {
        "kind": "backbone",
        "family": family,
        "seed": seed,
        "preprocess": spec.digest,
        "precision": "fp32",
    }
    files = {
        "graph": store.put_bytes(f"graph {seed} ".encode() * 100),
        "weights": store.put_bytes(f"weights {seed} ".encode() * 100),
        "preprocess": store.put_json(spec.to_json()),
        "tokenizer": tokenizer,
    }
    backbone = artefact_of("backbone", identity, files)
    source = artefact_of("source", {"kind": "source", "spec": f"hf:org/{family}", "commit": f"{seed:040x}"})
    return Publication(
        name=name,
        kind="backbone",
        subject=backbone.digest,
        artefacts=[source, backbone],
        edges=[Edge(backbone.digest, "converted_from", source.digest)],
        evidence=[
            Evidence(
                backbone.digest,
                "licence",
                licence,
                kind,
                f"hf:org/{family}@{seed:040x}/{kind}",
                f"says {licence}",
            )
            for licence, kind in licences
        ],
        certificates=[_certificate(backbone)],
        details={"source": f"hf:org/{family}", "commit": f"{seed:040x}"},
    )


def model_publication(
    store: BlobStore, name: str, backbone: Digest, *, seed: int = 0, labels: Sequence[str] = ("no", "yes")
) -> Publication:
    """A model as a fine-tune would publish it, on a backbone that the catalogue knows."""
    identity = HeadIdentity(
        type="text-classification",
        backbone=backbone,
        tap="mean",
        form="linear",
        parameters=store.put_bytes(f"parameters {seed}".encode()),
        width=4,
        out=len(labels),
        postprocess={"kind": "classification", "labels": list(labels)},
    )
    head = artefact_of("head", identity.to_json(), {"parameters": identity.parameters})
    data = artefact_of("dataset", {"kind": "dataset", "name": "tickets.csv", "sha256": digest_json(["rows", seed])})
    files = {
        "recipe": store.put_json({"seed": seed, "head": {"type": identity.type}}),
        "report": store.put_json({"n": 1}),
    }
    model = artefact_of("model", ModelIdentity(backbone, head.digest).to_json(), files)
    return Publication(
        name=name,
        kind="model",
        subject=model.digest,
        artefacts=[data, head, model],
        edges=[Edge(head.digest, "head_on", backbone), Edge(head.digest, "trained_on", data.digest)],
        details={
            "head_type": identity.type,
            "metrics": [{"name": "accuracy", "value": 0.9, "low": 0.8, "high": 0.95, "method": "wilson"}],
        },
    )


def _certificate(backbone: Artefact) -> Certificate:
    return Certificate(backbone.digest, 0.0, 0.0, True, "CPUExecutionProvider", {"rows": 64, "batches": 3})
