"""Variants: another precision is another backbone, kept only where it proves itself, and named by what it computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
import onnx
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from headstock.backbone.restore import restore
from headstock.backbone.samples import samples_for
from headstock.catalogue import Catalogue
from headstock.cli.main import cli
from headstock.digest import Digest
from headstock.errors import FailedPrecondition, InvalidInput, Unsupported
from headstock.graph import Graph
from headstock.names import Reference
from headstock.plugin_host import open_host
from headstock.records import Certificate
from headstock.servable import load_backbone
from headstock.variant import PRECISIONS, Made, make_variant
from headstock.variant.measure import Agreement, Speed, require_agreement
from headstock.variant.per_token import per_token
from headstock.variant.sensitive import sensitive_products

TINY = Reference("tiny")


def _one_product(weight: Any, op: str = "MatMul", **attributes: Any) -> Any:
    value = helper.make_tensor_value_info
    inputs, constants = ["x", "w"], [numpy_helper.from_array(weight, "w")]
    out = weight.shape[0] if attributes.get("transB") else weight.shape[1]
    if op == "Gemm":
        inputs.append("b")
        constants.append(numpy_helper.from_array(np.arange(out, dtype=np.float32), "b"))
    wide = weight.shape[1] if attributes.get("transB") else weight.shape[0]
    graph = helper.make_graph(
        [helper.make_node(op, inputs, ["y"], **attributes)],
        "g",
        [value("x", TensorProto.FLOAT, ["batch", wide])],
        [value("y", TensorProto.FLOAT, ["batch", out])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _run(model: Any, x: Any, path: Path) -> Any:
    path.write_bytes(model.SerializeToString())
    return Graph(path).run({"x": x}, ["y"])[0]


@pytest.mark.parametrize("op, attributes", [("MatMul", {}), ("Gemm", {}), ("Gemm", {"transB": 1})])
def test_a_product_in_eight_bits_stays_near_and_each_vector_has_a_scale_of_its_own(
    op: str, attributes: dict[str, Any], tmp_path: Path
) -> None:
    """A vector a million times larger beside it, or one of zeros, moves no bit of a row."""
    generator = np.random.default_rng(0)
    weight = generator.normal(size=(48, 32) if not attributes else (32, 48)).astype(np.float32)
    x = generator.normal(size=(4, 48)).astype(np.float32)
    x[1] *= 1e6
    x[2] = 0
    exact = _run(_one_product(weight, op, **attributes), x, tmp_path / "exact.onnx")
    model = per_token(_one_product(weight, op, **attributes))
    assert [t.name for t in model.graph.initializer if t.name == "w"] == []
    together = _run(model, x, tmp_path / "eight.onnx")
    for row in (0, 2, 3):
        alone = _run(model, x[row : row + 1], tmp_path / "eight.onnx")[0]
        np.testing.assert_array_equal(together[row], alone)
        np.testing.assert_allclose(together[row], exact[row], atol=0.05 * max(1.0, np.abs(exact[row]).max()))
    assert np.abs(together[0] - exact[0]).max() > 0


def test_a_graph_without_products_of_constants_has_no_eight_bits() -> None:
    """It would be the plain graph under another name."""
    model = _one_product(np.ones((2, 2), np.float32))
    with pytest.raises(Unsupported, match="no matrix product"):
        per_token(model, frozenset({"y"}))


def test_products_that_eight_bits_would_spoil_stay_as_they_are(tiny_catalogue: Catalogue, tmp_path: Path) -> None:
    """A layer whose columns cancel almost to nothing is found by one pass, and only that one."""
    plain = load_backbone(tiny_catalogue, Digest(tiny_catalogue.version(TINY).subject))
    preprocessor = plain.open_preprocessor()
    rows = samples_for(preprocessor).ordinary
    assert sensitive_products(plain.graph, preprocessor, rows) == frozenset()
    model = onnx.load(str(plain.graph))
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    spoilt = next(n for n in model.graph.node if n.op_type == "MatMul" and n.input[1] in constants)
    weight = numpy_helper.to_array(constants[spoilt.input[1]]).copy()
    # One huge weight per column leaves the rest no steps, and the activation that it meets is mostly its own.
    model.graph.node.insert(
        list(model.graph.node).index(spoilt), helper.make_node("Mul", [spoilt.input[0], "uneven"], ["uneven::x"])
    )
    uneven = np.full(len(weight), 1e-3, np.float32)
    uneven[0] = 1e3
    weight[0] = 0
    constants[spoilt.input[1]].CopyFrom(numpy_helper.from_array(weight, spoilt.input[1]))
    model.graph.initializer.append(numpy_helper.from_array(uneven, "uneven"))
    spoilt.input[0] = "uneven::x"
    path = tmp_path / "uneven.onnx"
    path.write_bytes(model.SerializeToString())
    assert sensitive_products(path, preprocessor, rows) == {spoilt.output[0]}


@pytest.fixture
def made(tiny_catalogue: Catalogue) -> Made:
    return make_variant(tiny_catalogue, TINY, "int8-per-token", "tiny-int8")


def test_a_variant_is_a_certified_backbone_of_its_own_beside_the_plain_one(
    tiny_catalogue: Catalogue, made: Made
) -> None:
    """Its digest covers the precision and the graph; lineage says what it was made from; rows share batches."""
    plain = load_backbone(tiny_catalogue, Digest(tiny_catalogue.version(TINY).subject))
    variant = load_backbone(tiny_catalogue, Digest(made.version.subject))
    assert variant.digest != plain.digest
    name, _, graph = variant.identity.precision.partition("@")
    assert name == "int8-per-token"
    assert tiny_catalogue.artefact(variant.digest).files["graph"].removeprefix("sha256:").startswith(graph)
    (edge,) = tiny_catalogue.edges(child=variant.digest)
    assert (edge.relation, edge.parent) == ("quantised_from", plain.digest)
    variant.require_shared()
    assert variant.certificate is not None
    assert variant.certificate.measured == 0.0
    assert set(made.agreement) == {tap.name for tap in plain.identity.taps}
    assert all(found.cosine >= PRECISIONS["int8-per-token"].least_cosine for found in made.agreement.values())
    assert {s.rows for s in made.speeds} == {1, 8}


def test_the_same_variant_made_again_is_the_same_version(tiny_catalogue: Catalogue, made: Made) -> None:
    """Equal graphs have equal digests, so nothing new is published."""
    again = make_variant(tiny_catalogue, TINY, "int8-per-token", "tiny-int8")
    assert again.version == made.version


def test_a_variant_of_a_variant_is_refused(tiny_catalogue: Catalogue, made: Made) -> None:
    """Errors would add up unseen."""
    with pytest.raises(FailedPrecondition, match="itself a variant"):
        make_variant(tiny_catalogue, Reference("tiny-int8"), "int8-per-token", "twice")
    assert "twice" not in tiny_catalogue.names()


def test_a_variant_is_not_trained_further(tiny_catalogue: Catalogue, made: Made) -> None:
    """Its weights are the plain backbone's, so what training would make of them is the plain backbone's child."""
    with pytest.raises(FailedPrecondition, match="int8-per-token") as refused:
        restore(tiny_catalogue, open_host(), Digest(made.version.subject), "tiny-int8")
    assert "feature-extraction" in (refused.value.fix or "")


@pytest.mark.parametrize("precision", ["int8-per-tensor", "int8-dynamic"])
def test_precisions_that_leak_between_rows_are_refused_with_the_reason(
    tiny_catalogue: Catalogue, precision: str
) -> None:
    """Nothing is converted, and the message says which precision to ask for."""
    with pytest.raises(Unsupported, match="change with its neighbours") as refused:
        make_variant(tiny_catalogue, TINY, precision, "leaky")
    assert "int8-per-token" in (refused.value.fix or "")
    with pytest.raises(InvalidInput, match="there is no precision"):
        make_variant(tiny_catalogue, TINY, "int3", "odd")


def test_a_graph_whose_rows_see_each_other_is_not_published(
    tiny_catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its precision is called: the isolation check decides, on the very graph that would serve."""
    import headstock.variant.make as module

    def per_tensor(graph: Path, precision: str, path: Path, *_: Any) -> None:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(graph, path, weight_type=QuantType.QInt8, extra_options={"DefaultTensorType": 1})

    monkeypatch.setattr(module, "rewrite", per_tensor)
    monkeypatch.setattr(module, "require_agreement", lambda *_: None)
    with pytest.raises(FailedPrecondition, match="when its neighbours change"):
        make_variant(tiny_catalogue, TINY, "int8-per-token", "leaky")
    assert tiny_catalogue.names() == ["tiny"]


def test_a_graph_that_turns_vectors_away_is_refused_with_the_cosine() -> None:
    """NaN and infinity count as turned away."""
    good = {"mean": Agreement(0.995, 0.1, 1.0)}
    require_agreement(good, 0.99, "int8-per-token")
    for cosine in (0.98, -1.0, float("nan")):
        with pytest.raises(FailedPrecondition, match="'cls' turns a vector away"):
            require_agreement({**good, "cls": Agreement(cosine, 0.1, 1.0)}, 0.99, "int8-per-token")


# What other processors' kernels keep was not measured: there, refusing is as right as making.
_INTEGER_KERNELS = "avx512_vnni" in Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else False


def _made(catalogue: Catalogue, precision: str) -> Certificate:
    version = make_variant(catalogue, TINY, precision, "made").version
    certificate = load_backbone(catalogue, Digest(version.subject)).certificate
    assert certificate is not None
    return certificate


@pytest.mark.parametrize("precision", ["int8-per-token", "int8-static"])
def test_eight_bits_with_scales_of_their_own_or_fixed_ones_keep_every_bit(
    tiny_catalogue: Catalogue, precision: str
) -> None:
    """On any processor: sums of integers are exact, and no scale depends on who else is there."""
    certificate = _made(tiny_catalogue, precision)
    assert certificate.shared
    assert certificate.measured == 0.0
    assert certificate.rows == 64


@pytest.mark.skipif(not _INTEGER_KERNELS, reason="measured on processors with AVX-512 VNNI only")
def test_weights_in_eight_bits_pass_with_small_blocks(tiny_catalogue: Catalogue) -> None:
    """Blocks of 128, which are faster, move a row by 0.02 in company; those of 32 by nothing."""
    assert _made(tiny_catalogue, "int8-weight-only").measured == 0.0


def test_half_precision_is_refused_on_a_cpu_with_the_way_to_a_gpu(tiny_catalogue: Catalogue) -> None:
    """It is near enough; it is its rows that move, by less than a GPU may and more than a CPU may."""
    with pytest.raises(FailedPrecondition, match="when its neighbours change") as refused:
        make_variant(tiny_catalogue, TINY, "fp16", "half")
    assert "--for cuda" in (refused.value.fix or "")
    assert tiny_catalogue.names() == ["tiny"]


def test_a_variant_for_a_device_that_is_not_there_is_not_made(tiny_catalogue: Catalogue) -> None:
    """Nobody can say on a CPU what a GPU keeps."""
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine has a GPU")
    with pytest.raises(FailedPrecondition, match="device 'cuda' was asked for"):
        make_variant(tiny_catalogue, TINY, "fp16", "half", device="cuda")
    assert tiny_catalogue.names() == ["tiny"]


@pytest.mark.parametrize("ratio, kept", [(0.9, True), (1.02, False)])
def test_a_fused_graph_is_kept_only_where_it_was_measured_faster(
    tiny_catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, ratio: float, kept: bool
) -> None:
    """It computes the same, so speed is its only point; here the measurement is given, all other gates are real."""
    import headstock.variant.make as module

    monkeypatch.setattr(module, "speeds", lambda *_: [Speed(1, 8, 1.0, ratio, ratio)])
    if kept:
        certificate = _made(tiny_catalogue, "fused-fp32")
        assert certificate.measured == 0.0
        assert max(tap["max_error"] for tap in certificate.detail["parity"].values()) < 1e-4
    else:
        with pytest.raises(FailedPrecondition, match=r"take 1\.02 of the plain graph's time"):
            make_variant(tiny_catalogue, TINY, "fused-fp32", "made")
        assert tiny_catalogue.names() == ["tiny"]


def test_every_precision_has_a_test_that_says_what_becomes_of_it() -> None:
    """A new one must say whether it succeeds on a CPU."""
    assert set(PRECISIONS) == {"int8-per-token", "int8-static", "int8-weight-only", "fused-fp32", "fp16"}


def test_convolutions_with_fixed_scales_stay_near_and_apart(tmp_path: Path) -> None:
    """A picture with one a hundred times as bright beside it keeps its bits; nothing else makes convolutions small."""
    from headstock.variant.static import static

    weight = np.random.default_rng(0).normal(size=(8, 3, 3, 3)).astype(np.float32)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], name="conv")],
        "g",
        [value("x", TensorProto.FLOAT, ["batch", 3, 9, 9])],
        [value("y", TensorProto.FLOAT, ["batch", 8, 7, 7])],
        [numpy_helper.from_array(weight, "w")],
    )
    plain = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (tmp_path / "plain.onnx").write_bytes(plain.SerializeToString())

    class Pictures:
        def collate(self, rows: Any) -> dict[str, Any]:
            return {"x": np.stack(rows)}

    pictures = np.random.default_rng(1).uniform(-1, 1, (6, 3, 9, 9)).astype(np.float32)
    made = static(tmp_path / "plain.onnx", tmp_path / "made.onnx", Pictures(), list(pictures))  # type: ignore[arg-type]
    exact = _run(plain, pictures, tmp_path / "exact.onnx")
    together = _run(made, np.concatenate([pictures, pictures[:1] * 100]), tmp_path / "eight.onnx")
    for i, picture in enumerate(pictures):
        np.testing.assert_array_equal(together[i], _run(made, picture[None], tmp_path / "eight.onnx")[0])
    assert 0 < np.abs(together[:6] - exact).max() < 0.03 * np.abs(exact).max()


def test_the_command_prints_what_was_measured(tiny_home: Path) -> None:
    """As JSON, with the digest of the plain backbone, the agreement of every tap and the speeds."""
    environment = {"HEADSTOCK_HOME": str(tiny_home)}
    arguments = ["variant", "tiny", "--precision", "int8-per-token", "--format", "json"]
    result = CliRunner().invoke(cli, arguments, env=environment)
    assert result.exit_code == 0, result.output
    (record,) = json.loads(result.stdout)
    assert record["name"] == "tiny-int8-per-token"
    assert record["variant_of"] != record["digest"]
    assert {"cosine", "max_error", "scale"} == set(record["agreement"]["mean"])
    assert {"rows", "length", "plain_ms", "variant_ms", "ratio"} == set(record["speeds"][0])
