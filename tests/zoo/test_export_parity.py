"""Export: one clean ONNX file with named taps that agrees with torch, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstock.backbone.export import OPSET, admit_graph, export_graph
from headstock.backbone.parity import TapParity, measure_parity, require_parity
from headstock.backbone.samples import Samples, samples_for
from headstock.errors import FailedPrecondition, PluginError
from headstock.graph import Graph
from headstock.hookspecs import BackboneFamily, SourceFiles
from headstock.plugin_host import open_host
from headstock.preprocess import Preprocessor, open_preprocessor
from headstock.records import Tap


@dataclass
class Loaded:
    """A tiny backbone as a pull has it before the export."""

    family: BackboneFamily
    module: Any
    preprocessor: Preprocessor
    samples: Samples

    def export(self, path: Path, module: Any = None) -> Path:
        example = self.preprocessor.collate(self.samples.ordinary[1:4])
        module = self.module if module is None else module
        export_graph(module, self.family.inputs(self.module), self.family.taps(self.module), example, path)
        return path

    @property
    def taps(self) -> list[Tap]:
        return list(self.family.taps(self.module))


@pytest.fixture(scope="module")
def tiny(tiny_checkpoint: Path) -> Loaded:
    import json

    config = json.loads((tiny_checkpoint / "config.json").read_text())
    files = SourceFiles(tiny_checkpoint, config, "path:tiny")
    family = open_host().family_for(files)
    preprocessor = open_preprocessor(family.preprocess(files), family.files(files))
    return Loaded(family, family.load(files), preprocessor, samples_for(preprocessor))


@pytest.fixture(scope="module")
def graph(tiny: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.export(tmp_path_factory.mktemp("graph") / "graph.onnx")


def test_inputs_and_taps_have_their_names_and_readable_axes(graph: Path) -> None:
    import onnx

    model = onnx.load(graph)

    def described(values: Any) -> dict[str, list[Any]]:
        return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}

    names = ("input_ids", "attention_mask", "token_type_ids")
    assert described(model.graph.input) == {name: ["batch", "length"] for name in names}
    assert described(model.graph.output) == {
        "tokens": ["batch", "length", 16],
        "cls": ["batch", 16],
        "mean": ["batch", 16],
    }
    assert [(i.domain, i.version) for i in model.opset_import] == [("", OPSET)]


def test_the_file_holds_no_path_of_the_machine_that_made_it(graph: Path) -> None:
    """The exporter writes a stack trace into every node."""
    data = graph.read_bytes()
    assert b".py" not in data
    assert b"site-packages" not in data


def test_the_same_module_gives_the_same_bytes_in_silence(
    tiny: Loaded, graph: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert tiny.export(tmp_path / "again.onnx").read_bytes() == graph.read_bytes()
    assert capfd.readouterr() == ("", "")


def test_the_graph_agrees_with_torch_over_batches_lengths_and_padding(tiny: Loaded, graph: Path) -> None:
    parity = measure_parity(tiny.module, Graph(graph), tiny.preprocessor, tiny.samples, tiny.taps)
    assert list(parity) == ["tokens", "cls", "mean"]
    assert all(found.max_error < 1e-5 and found.scale > 0.1 for found in parity.values())
    require_parity(parity)


def test_a_graph_of_other_weights_is_refused(tiny: Loaded, graph: Path) -> None:
    import copy

    import torch

    other = copy.deepcopy(tiny.module)
    with torch.no_grad():
        next(p for n, p in other.named_parameters() if n.endswith("output.LayerNorm.bias")).add_(1e-3)
    parity = measure_parity(other, Graph(graph), tiny.preprocessor, tiny.samples, tiny.taps)
    with pytest.raises(FailedPrecondition, match=r"differs from torch by 0\.001"):
        require_parity(parity)


@pytest.mark.parametrize(
    "found, said",
    [
        (TapParity(0.0, 1e-40), "is dead"),
        (TapParity(float("inf"), 1.0), "differs from torch by inf"),
        (TapParity(2e-4, 1.0), "expected at most 0.0001"),
        (TapParity(2e-3, 10.0), "expected at most 0.001"),
    ],
)
def test_parity_is_relative_to_the_scale_and_a_dead_tap_never_passes(found: TapParity, said: str) -> None:
    with pytest.raises(FailedPrecondition, match=said):
        require_parity({"mean": found})


def test_a_module_that_does_not_return_its_declared_taps_is_the_plugins_fault(tiny: Loaded, tmp_path: Path) -> None:
    import torch

    class Other(torch.nn.Module):
        def __init__(self, change: Any) -> None:
            super().__init__()
            self.inner, self.change = tiny.module, change

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            return self.change(self.inner(input_ids, attention_mask, token_type_ids))

    for change, said in (
        (lambda o: {"mean": o["mean"]}, r"returned \['mean'\]"),
        (lambda o: o["mean"], "returned Tensor"),
        (lambda o: {**o, "cls": o["cls"][:, :3]}, r"'cls' is torch.float32 \[3, 3\]"),
        (lambda o: {**o, "cls": o["cls"].double()}, "'cls' is torch.float64"),
    ):
        with pytest.raises(PluginError, match=said):
            tiny.export(tmp_path / "graph.onnx", Other(change))
    assert not (tmp_path / "graph.onnx").exists()


@pytest.fixture
def changed(graph: Path, tmp_path: Path) -> tuple[Any, Callable[[Loaded], None]]:
    """The tiny graph as a model to change, and where to write it."""
    import onnx

    model = onnx.load(graph)
    path = tmp_path / "changed.onnx"

    def admit(tiny: Loaded) -> None:
        path.write_bytes(model.SerializeToString())
        admit_graph(path, tiny.family.inputs(tiny.module), tiny.family.taps(tiny.module))

    return model, admit


def test_an_honest_graph_is_admitted(tiny: Loaded, changed: Any) -> None:
    _, admit = changed
    admit(tiny)


def test_weights_outside_the_file_are_refused_wherever_they_hide(tiny: Loaded, changed: Any) -> None:
    import onnx
    from onnx import helper

    model, admit = changed
    outside = onnx.TensorProto(name="w", data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="../../secret")
    model.graph.node.append(helper.make_node("Constant", [], ["unused"], value=outside))
    with pytest.raises(FailedPrecondition, match="outside its file"):
        admit(tiny)


def test_operators_of_unknown_domains_are_refused(tiny: Loaded, changed: Any) -> None:
    from onnx import helper

    model, admit = changed
    model.opset_import.append(helper.make_opsetid("com.evil", 1))
    model.graph.node.append(helper.make_node("Read", ["input_ids"], ["unused"], domain="com.evil"))
    with pytest.raises(FailedPrecondition, match=r"operators of \['com.evil'\]"):
        admit(tiny)


def test_a_graph_with_other_outputs_or_that_is_no_graph_is_refused(tiny: Loaded, changed: Any) -> None:
    model, admit = changed
    del model.graph.output[2]
    with pytest.raises(FailedPrecondition, match=r"outputs \['tokens', 'cls'\]; expected"):
        admit(tiny)
    model.graph.node[0].input[0] = "nobody"
    with pytest.raises(FailedPrecondition, match="not valid ONNX"):
        admit(tiny)


def test_samples_cover_what_breaks_graphs(tiny: Loaded) -> None:
    lengths = [row.length for row in tiny.samples.ordinary]
    assert 1 in lengths
    assert len(set(lengths)) >= 5
    assert {row.length for row in tiny.samples.longest} == {64}
    assert len(np.unique(tiny.samples.longest[1].tensors["input_ids"][1:-1])) <= 4
