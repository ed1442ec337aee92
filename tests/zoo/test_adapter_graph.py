"""The LoRA graph is derived from exported graphs of every text and vision transformer, and refuses what it cannot."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from headstock.adapter import INDEX, Pair, check_parameters, load_parameters, lora_graph, target_weights
from headstock.backbone.pull import pull
from headstock.backbone.restore import restore
from headstock.catalogue import Catalogue
from headstock.digest import Digest
from headstock.errors import Corrupt, InvalidInput, Unsupported
from headstock.graph import Graph
from headstock.names import Reference
from headstock.plugin_host import open_host
from headstock.preprocess import open_preprocessor
from headstock.servable import load_backbone
from headstock.settings import Settings
from headstock.testing.tiny_text import make_tiny_distilbert, make_tiny_gpt, make_tiny_roberta
from headstock.testing.tiny_vision import make_tiny_vit

FAMILIES: Mapping[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "roberta": (make_tiny_roberta, ("query", "value")),
    "distilbert": (make_tiny_distilbert, ("q_lin", "v_lin", "lin1")),
    "gpt": (make_tiny_gpt, ("c_attn", "c_proj")),
    "vit": (make_tiny_vit, ("q_proj", "v_proj", "query", "value")),
}


def _changed(module: Any, pairs: Mapping[str, Pair]) -> Any:
    """The module with x W + (x A) B computed by hooks: no folding, no peft."""
    import torch

    def hook(pair: Pair) -> Any:
        a, b = torch.from_numpy(pair.a), torch.from_numpy(pair.b)
        return lambda _, inputs, output: output + inputs[0] @ a @ b

    return [module.get_submodule(name).register_forward_hook(hook(pair)) for name, pair in pairs.items()]


@pytest.fixture(scope="module")
def pulled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A HEADSTOCK_HOME with a tiny checkpoint of each family, under the family's name."""
    folder = tmp_path_factory.mktemp("pulled")
    settings = Settings.from_environment({"HEADSTOCK_HOME": str(folder / "home")})
    with Catalogue.open(settings) as catalogue:
        for family, (make, _) in FAMILIES.items():
            pull(catalogue, open_host(settings), f"path:{make(folder / family)}", family)
    return folder / "home"


@pytest.fixture
def catalogue(pulled: Path, tmp_path: Path) -> Iterator[Catalogue]:
    """The same of the test's own."""
    home = shutil.copytree(pulled, tmp_path / "home")
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(home)})) as opened:
        yield opened


@pytest.mark.parametrize("family", FAMILIES)
def test_each_row_of_the_graph_has_its_own_adapter(family: str, catalogue: Catalogue, tmp_path: Path) -> None:
    """Three rows with two adapters and none agree with torch, in every exported form of a linear layer."""
    import torch

    _, ends = FAMILIES[family]
    digest = Digest(catalogue.version(Reference(family)).subject)
    servable = load_backbone(catalogue, digest)
    module = restore(catalogue, open_host(catalogue.settings), digest, family).module
    names = [n for n, _ in module.named_modules() if n.endswith(ends)]
    weights = target_weights(module, names)
    data = lora_graph(servable.graph, weights, 3)
    preprocessor = open_preprocessor(servable.spec, servable.files)
    assert names
    assert data == lora_graph(servable.graph, dict(reversed(weights.items())), 3)
    generator = np.random.default_rng(0)

    def made(*shape: int) -> Any:
        return (generator.normal(size=shape) * 0.4).astype(np.float32)

    pairs = [{n: Pair(made(len(w), 3), made(3, w.shape[1])) for n, w in weights.items()} for _ in range(2)]
    stacked = {}
    for name, weight in weights.items():
        none = Pair(np.zeros((len(weight), 3), np.float32), np.zeros((3, weight.shape[1]), np.float32))
        for part in range(2):
            stacked[f"{name}.{'AB'[part]}"] = np.stack([none[part], pairs[0][name][part], pairs[1][name][part]])
    from headstock.backbone.samples import samples_for

    rows = list(samples_for(preprocessor).ordinary)[:1] * 3
    feeds = preprocessor.collate(rows)
    path = tmp_path / "lora.onnx"
    path.write_bytes(data)
    tap = servable.identity.taps[-1].name
    slots = np.array([2, 0, 1], np.int64)
    (found,) = Graph(path).run({**feeds, INDEX: slots, **stacked}, [tap])
    for i, slot in enumerate(slots):
        hooks = _changed(module, pairs[slot - 1]) if slot else []
        with torch.no_grad():
            expected = module(**{k: torch.from_numpy(v[i : i + 1]) for k, v in feeds.items()})[tap].numpy()
        for hook in hooks:
            hook.remove()
        np.testing.assert_allclose(found[i : i + 1], expected, atol=1e-4, rtol=1e-4)
    assert np.abs(found[0] - found[1]).max() > 1e-2


def _graph(path: Path, weight: Any) -> Path:
    import onnx
    from onnx import helper, numpy_helper

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [value("x", onnx.TensorProto.FLOAT, ["batch", len(weight)])],
        [value("y", onnx.TensorProto.FLOAT, ["batch", weight.shape[1]])],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    return path


def test_layers_that_cannot_be_told_apart_or_found_are_refused(tmp_path: Path) -> None:
    """A layer is found by its numbers: equal numbers are ambiguous, unknown ones are no part of the graph."""
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    graph = _graph(tmp_path / "g.onnx", weight)
    with pytest.raises(InvalidInput, match="equal weights"):
        lora_graph(graph, {"a": weight, "b": weight.copy()}, 1)
    with pytest.raises(Unsupported, match="no matrix product"):
        lora_graph(graph, {"a": weight + 1}, 1)


def test_parameters_of_other_shapes_ranks_or_numbers_are_refused(tmp_path: Path) -> None:
    """One rank for all layers, finite FP32, and exactly the layers that the identity names."""
    from safetensors.numpy import save_file

    good = Pair(np.ones((4, 2), np.float32), np.ones((2, 3), np.float32))
    assert check_parameters({"a": good}) == 2
    for bad in (
        {},
        {"a": Pair(good.a, good.b[:1])},
        {"a": good, "b": Pair(good.a[:, :1], good.b[:1])},
        {"a": Pair(good.a * np.nan, good.b)},
        {"a": Pair(good.a.astype(np.float64), good.b)},  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidInput):
            check_parameters(bad)
    path = tmp_path / "p.safetensors"
    save_file({"a.A": good.a, "a.B": good.b}, path)
    assert np.array_equal(load_parameters(path, ("a",), 2)["a"].a, good.a)
    for targets, rank in ((("a", "b"), 2), (("a",), 3)):
        with pytest.raises(Corrupt):
            load_parameters(path, targets, rank)


def _adapted(catalogue: Catalogue) -> tuple[Any, Any, Any, Any]:
    """The RoBERTa restored, one pair of matrices per query layer, and what `adapter_artefact` made of them."""
    from headstock.adapter import adapter_artefact

    digest = Digest(catalogue.version(Reference("roberta")).subject)
    restored = restore(catalogue, open_host(catalogue.settings), digest, "roberta")
    weights = target_weights(restored.module, [n for n, _ in restored.module.named_modules() if n.endswith("query")])
    generator = np.random.default_rng(0)
    pairs = {
        n: Pair(*((generator.normal(size=s) * 0.3).astype(np.float32) for s in ((w.shape[0], 2), (2, w.shape[1]))))
        for n, w in weights.items()
    }
    with catalogue.writing("test"):
        return restored, pairs, weights, adapter_artefact(catalogue, digest, pairs, weights)


def test_the_adapters_graph_has_a_certificate_of_its_own(catalogue: Catalogue) -> None:
    """Measured with rows of different adapters side by side, and read with the adapter."""
    from headstock.servable import servable_adapter

    *_, artefact = _adapted(catalogue)
    certificate = servable_adapter(catalogue, artefact).certificate
    assert certificate is not None
    assert certificate.shared
    assert certificate.measured == 0.0
    assert certificate.rows == 64


def test_an_adapters_graph_in_which_rows_meet_is_found(catalogue: Catalogue, tmp_path: Path) -> None:
    """A graph that gives every row the first row's adapter agrees row by row, and fails in company."""
    import onnx

    from headstock.adapter.proof import certify_adapters
    from headstock.backbone.samples import samples_for

    _, pairs, _, artefact = _adapted(catalogue)
    backbone = load_backbone(catalogue, Digest(artefact.identity["backbone"]))
    model = onnx.load(str(catalogue.store.path(artefact.files["graph"])))
    make = onnx.helper.make_node
    leaky = [
        make("Constant", [], ["leak::zero"], value_ints=[0]),
        make("Gather", [INDEX, "leak::zero"], ["leak::first"], axis=0),
        make("Shape", [INDEX], ["leak::shape"]),
        make("Expand", ["leak::first", "leak::shape"], ["leak::index"]),
    ]
    for node in model.graph.node:
        if node.op_type == "Gather" and node.input[1] == INDEX:
            node.input[1] = "leak::index"
    nodes = [*leaky, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    (tmp_path / "leaky.onnx").write_bytes(model.SerializeToString())
    preprocessor = backbone.open_preprocessor()
    samples = samples_for(preprocessor)
    certificate = certify_adapters(Graph(tmp_path / "leaky.onnx"), backbone.identity, preprocessor, samples, pairs)
    assert not certificate.shared
    assert certificate.measured > 1e-2


def test_an_adapter_that_torch_computes_differently_is_refused(catalogue: Catalogue) -> None:
    """The stored graph under the stored numbers is held against the module that was trained."""
    from headstock.errors import FailedPrecondition
    from headstock.finetune.new_adapter import require_torch_parity

    restored, pairs, _, artefact = _adapted(catalogue)
    backbone = load_backbone(catalogue, Digest(artefact.identity["backbone"]))
    with pytest.raises(FailedPrecondition, match="differs from torch"):
        # The module has no adapter, so it computes the plain backbone.
        require_torch_parity(catalogue, artefact, restored, backbone)
    hooks = _changed(restored.module, pairs)
    require_torch_parity(catalogue, artefact, restored, backbone)
    for hook in hooks:
        hook.remove()
