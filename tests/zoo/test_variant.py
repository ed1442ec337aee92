"""Variants: another precision is another backbone, kept only where it proves itself, and named by what it computes."""

from __future__ import annotations

import contextlib
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
from headstock.servable import load_backbone
from headstock.variant import PRECISIONS, Made, make_variant
from headstock.variant.measure import Agreement, require_agreement
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


@pytest.mark.parametrize("precision", sorted(PRECISIONS))
def test_every_precision_makes_a_certified_variant_or_says_why_not(tiny_catalogue: Catalogue, precision: str) -> None:
    """Which ones pass depends on the machine's kernels; that an uncertified one never enters does not."""
    with contextlib.suppress(FailedPrecondition):
        make_variant(tiny_catalogue, TINY, precision, "maybe")
    for version in tiny_catalogue.versions("maybe") if "maybe" in tiny_catalogue.names() else ():
        load_backbone(tiny_catalogue, Digest(version.subject)).require_shared()


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
