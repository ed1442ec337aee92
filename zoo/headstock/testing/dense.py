"""A hand-made backbone for tables of numbers, published without torch: the columns, or one dense layer of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from headstock.digest import digest_tensors
from headstock.preprocess import PreprocessSpec
from headstock.records import (
    Artefact,
    BackboneIdentity,
    Certificate,
    Evidence,
    Publication,
    Tap,
    TensorSpec,
    Version,
    artefact_of,
)

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue

Floats = npt.NDArray[np.float32]
TAP = "pooled"
"""Name of its only tap."""


def publish_dense(
    catalogue: Catalogue,
    name: str,
    columns: Sequence[str],
    layer: tuple[Floats, Floats] | None = None,
    ignored: Sequence[str] = (),
) -> Version:
    """Publish a backbone whose features are `columns` as they are, or `relu(columns @ weight + bias)` of `layer`.

    `layer` is weight [columns, width] and bias [width]. Columns in `ignored` may stand in the data too. Its rows do
    not see each other, so its certificate admits it to shared batches.
    """
    weight, bias = layer or (np.eye(len(columns), dtype=np.float32), np.zeros(len(columns), np.float32))
    numeric = [{"name": column, "type": "numeric", "mean": 0.0, "scale": 1.0} for column in columns]
    options = {
        "columns": [*numeric, *({"name": column, "type": "ignored"} for column in ignored)],
        "clip": 1e6,
        "missing": [""],
    }
    spec = PreprocessSpec("table", options, {})
    tensors = {"weight": weight, "bias": bias}
    identity = BackboneIdentity(
        family="dense",
        architecture={"columns": len(columns), "layer": layer is not None},
        weights=digest_tensors({key: ("F32", v.shape, v.tobytes()) for key, v in tensors.items()}),
        preprocess=spec.digest,
        taps=(Tap(TAP, (-1, weight.shape[1])),),
        inputs=(TensorSpec("numeric", "FP32", (-1, len(columns))),),
        padding="zero-ok",
    ).to_json()
    digest = artefact_of("backbone", identity).digest
    stated = {"rows": 1024, "note": "stated by the test kit"}
    certificate = Certificate(digest, 1e-5, 0.0, True, "CPUExecutionProvider", stated)
    store = catalogue.store
    files = {
        "graph": store.put_bytes(_graph(weight, bias, plain=layer is None)),
        "preprocess": store.put_json(spec.to_json()),
        "certificate": store.put_json(asdict(certificate)),
    }
    return catalogue.publish(
        Publication(
            name=name,
            kind="backbone",
            subject=digest,
            artefacts=[Artefact(digest, "backbone", identity, files)],
            evidence=[Evidence(digest, "licence", "CC0-1.0", "manifest", "dense:manifest", "made by the test kit")],
            certificates=[certificate],
            details={"source": "dense"},
        )
    )


def _graph(weight: Floats, bias: Floats, *, plain: bool) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("MatMul", ["numeric", "weight"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["sum"]),
        helper.make_node("Identity" if plain else "Relu", ["sum"], [TAP]),
    ]
    constants = [numpy_helper.from_array(array, name) for name, array in (("weight", weight), ("bias", bias))]
    inputs = [helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["n", weight.shape[0]])]
    outputs = [helper.make_tensor_value_info(TAP, TensorProto.FLOAT, ["n", weight.shape[1]])]
    graph = helper.make_graph(nodes, "dense", inputs, outputs, constants)
    data: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    ).SerializeToString()
    return data
