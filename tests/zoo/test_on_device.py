"""A device's answers against the CPU's: heads were trained on those. Here one CPU graph plays the device."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
import numpy as np
import onnx
from onnx import numpy_helper

from headstock.backbone.isolation import certify
from headstock.backbone.on_device import certify_elsewhere, difference, held_against_cpu
from headstock.backbone.samples import samples_for
from headstock.catalogue import Catalogue
from headstock.digest import Digest
from headstock.errors import FailedPrecondition
from headstock.graph import Graph
from headstock.names import Reference
from headstock.servable import load_backbone


def _scaled(source: Path, path: Path, factor: float) -> Path:
    """The graph with one matrix of weights a little larger."""
    model = onnx.load(str(source))
    tensor = max(model.graph.initializer, key=lambda t: len(t.raw_data) if len(t.dims) == 2 else 0)
    scaled = numpy_helper.to_array(tensor) * np.float32(factor)
    tensor.CopyFrom(numpy_helper.from_array(scaled, tensor.name))
    path.write_bytes(model.SerializeToString())
    return path


def test_a_device_that_answers_differently_is_refused_and_one_that_agrees_is_recorded(
    tiny_catalogue: Catalogue, tmp_path: Path
) -> None:
    """The certificate says by how much it differs; a hundredth too much is an error that says where to serve."""
    backbone = load_backbone(tiny_catalogue, Digest(tiny_catalogue.version(Reference("tiny")).subject))
    preprocessor, plain = backbone.open_preprocessor(), Graph(backbone.graph)
    samples, identity = samples_for(preprocessor), backbone.identity
    certificate = certify(plain, identity, preprocessor, samples)
    same = held_against_cpu(certificate, plain, plain, identity, samples, preprocessor.collate)
    assert same.detail["cpu"] == 0.0
    assert same.rows == certificate.rows
    other = Graph(_scaled(backbone.graph, tmp_path / "other.onnx", 1.05))
    assert difference(plain, other, identity, samples, preprocessor.collate) > 1e-3
    with pytest.raises(FailedPrecondition, match="answers differently from the CPU") as refused:
        held_against_cpu(certificate, plain, other, identity, samples, preprocessor.collate)
    assert refused.value.fix == "serve this backbone with --device cpu"


def test_a_machine_without_a_gpu_says_nothing_of_one(tiny_catalogue: Catalogue) -> None:
    """A pull there leaves it to the server that has one."""
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine has a GPU")
    backbone = load_backbone(tiny_catalogue, Digest(tiny_catalogue.version(Reference("tiny")).subject))
    preprocessor, plain = backbone.open_preprocessor(), Graph(backbone.graph)
    samples = samples_for(preprocessor)
    assert certify_elsewhere(backbone.graph, plain, backbone.identity, preprocessor, samples, lambda _: None) == ()
    assert dict(backbone.elsewhere) == {}
    assert backbone.certificate_on("CUDAExecutionProvider") is None
    assert backbone.certificate_on("CPUExecutionProvider") == backbone.certificate
