"""A hand-made backbone with random heads, published in milliseconds without torch, for server tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstock.digest import Digest, digest_tensors
from headstock.errors import InvalidInput
from headstock.preprocess import PreprocessSpec
from headstock.records import (
    Artefact,
    BackboneIdentity,
    Certificate,
    Edge,
    Evidence,
    HeadIdentity,
    ModelIdentity,
    Publication,
    Tap,
    TensorSpec,
    Version,
    artefact_of,
)

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.store import BlobStore

Floats = npt.NDArray[np.float32]

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
"""Token ids 0 to 3."""
WORDS = (
    *("refund", "order", "late", "broken", "please", "thanks", "great", "awful", "where", "is", "my", "the"),
    *("a", "good", "bad", "invoice", "poison"),
)
"""Token ids 4 and up: what the toy tokenizer knows, besides `w0` ... `w99`; other words become `[UNK]`."""
POISON = "poison"
"""A word whose embedding is NaN: a text that holds it has features that are not finite."""
VOCABULARY = (*SPECIAL, *WORDS, *(f"w{i}" for i in range(100)))
"""All tokens in id order; an id past the end makes the graph itself throw."""
MAX_LENGTH = 128
"""Tokens per row, `[CLS]` and `[SEP]` included."""


@dataclass(frozen=True, slots=True)
class ToyHead:
    """A head to publish on a toy backbone: random, but the same for the same seed."""

    labels: tuple[str, ...] = ("negative", "positive")
    """Classes of a classification head; empty makes an embedding head."""
    out: int = 4
    """Width of an embedding head; a classification head has one value per label."""
    tap: str = "mean"
    seed: int = 0
    form: str = "linear"
    """`linear`, `graph` (the same function as an ONNX file), or `throwing` (a graph that throws for a row
    whose first feature is above zero)."""
    postprocess: Mapping[str, Any] | None = None
    """Another postprocessing spec than the labels imply; `out` then says how many values the head has."""


@dataclass(frozen=True, slots=True)
class Toy:
    """What `publish_toy` made."""

    backbone: Version
    models: Mapping[str, Version]


def publish_toy(
    catalogue: Catalogue,
    models: Mapping[str, ToyHead] | Sequence[str] = ("sentiment", "intents"),
    *,
    backbone: str = "toy",
    width: int = 16,
    seed: int = 0,
    leaky: bool = False,
) -> Toy:
    """Publish a toy backbone and one model per head on it.

    A sequence of names gets a two-class head each, with seeds 1, 2, ... . `leaky` makes a backbone whose rows
    see their neighbours and whose certificate says so.
    """
    heads = models if isinstance(models, Mapping) else {n: ToyHead(seed=i + 1) for i, n in enumerate(models)}
    version = publish_backbone(catalogue, backbone, width=width, seed=seed, leaky=leaky)
    return Toy(version, {name: publish_model(catalogue, name, version, head) for name, head in heads.items()})


def publish_backbone(
    catalogue: Catalogue, name: str = "toy", *, width: int = 16, seed: int = 0, leaky: bool = False
) -> Version:
    """Publish a backbone with taps `tokens`, `cls`, `mean` and inputs `input_ids`, `attention_mask`."""
    store = catalogue.store
    weights = _weights(width, seed)
    tokenizer = store.put_bytes(_tokenizer())
    spec = PreprocessSpec("text", _preprocess_options(), {"tokenizer": tokenizer})
    identity = BackboneIdentity(
        family="toy",
        architecture={"width": width, "vocabulary": len(VOCABULARY), "leaky": leaky},
        weights=digest_tensors({k: ("F32", v.shape, v.tobytes()) for k, v in weights.items()}),
        preprocess=spec.digest,
        taps=(Tap("tokens", (-1, -1, width)), Tap("cls", (-1, width)), Tap("mean", (-1, width))),
        inputs=(TensorSpec("input_ids", "INT64", (-1, -1)), TensorSpec("attention_mask", "INT64", (-1, -1))),
        padding="mask",
    ).to_json()
    digest = artefact_of("backbone", identity).digest
    certificate = Certificate(
        backbone=digest,
        tolerance=0.0,
        measured=0.5 if leaky else 0.0,
        shared=not leaky,
        provider="CPUExecutionProvider",
        detail={"rows": 1024, "note": "stated by the toy, measured by the tests that use it"},
    )
    files = {
        "graph": store.put_bytes(_graph(weights, leaky)),
        "weights": store.put_bytes(_safetensors(weights)),
        "config": store.put_json({"model_type": "toy", "hidden_size": width}),
        "preprocess": store.put_json(spec.to_json()),
        "tokenizer": tokenizer,
        "certificate": store.put_json(asdict(certificate)),
    }
    publication = Publication(
        name=name,
        kind="backbone",
        subject=digest,
        artefacts=[Artefact(digest, "backbone", identity, files)],
        evidence=[
            Evidence(digest, "licence", "CC0-1.0", "manifest", "toy:manifest", "made by the test kit", scope="weights")
        ],
        certificates=[certificate],
        details={"source": "toy", "seed": seed},
    )
    return catalogue.publish(publication)


def publish_model(catalogue: Catalogue, name: str, backbone: Version, head: ToyHead | None = None) -> Version:
    """Publish the next version of model `name`: a random head on a toy backbone."""
    head = head or ToyHead()
    width = BackboneIdentity.from_json(catalogue.artefact(backbone.subject).identity).tap(head.tap).width
    out = _out(head)
    identity = HeadIdentity(
        type="toy" if head.postprocess is not None else "text-classification" if head.labels else "text-embedding",
        backbone=backbone.subject,
        tap=head.tap,
        form="linear" if head.form == "linear" else "graph",
        parameters=_parameters(catalogue.store, head, width, out),
        width=width,
        out=out,
        postprocess=_postprocess(head),
    )
    head_artefact = artefact_of("head", identity.to_json(), {"parameters": identity.parameters})
    files = {
        "recipe": catalogue.store.put_json({"toy": asdict(head)}),
        "report": catalogue.store.put_json({"verdict": "toy"}),
    }
    model = artefact_of("model", ModelIdentity(backbone.subject, head_artefact.digest).to_json(), files)
    publication = Publication(
        name=name,
        kind="model",
        subject=model.digest,
        artefacts=[head_artefact, model],
        edges=[
            Edge(head_artefact.digest, "head_on", backbone.subject),
            Edge(model.digest, "finetuned_from", backbone.subject),
        ],
        details={"head": identity.type, "backbone": backbone.name},
    )
    return catalogue.publish(publication)


def linear_parameters(head: ToyHead, width: int) -> tuple[Floats, Floats]:
    """Weight [width, out] and bias [out] that `publish_model` gives to this head, for expected answers."""
    out = _out(head)
    random = np.random.default_rng([17, head.seed])
    return _normal(random, width, out), _normal(random, out)


def _out(head: ToyHead) -> int:
    return head.out if head.postprocess is not None else len(head.labels) or head.out


def _postprocess(head: ToyHead) -> Mapping[str, Any]:
    if head.postprocess is not None:
        return head.postprocess
    if head.labels:
        return {"kind": "classification", "labels": list(head.labels)}
    return {"kind": "embedding", "width": head.out, "normalise": True}


def _normal(random: np.random.Generator, *shape: int) -> Floats:
    return random.standard_normal(shape).astype(np.float32)


def _weights(width: int, seed: int) -> dict[str, Floats]:
    random = np.random.default_rng([5, seed])
    table = _normal(random, len(VOCABULARY), width)
    table[VOCABULARY.index(POISON)] = np.nan
    dense = _normal(random, width, width) / np.float32(np.sqrt(width))
    return {"table": table, "dense.weight": dense, "dense.bias": _normal(random, width) / np.float32(10)}


def _preprocess_options() -> dict[str, Any]:
    return {
        "max_length": MAX_LENGTH,
        "truncation": "right",
        "pad_id": 0,
        "pad_type_id": 0,
        "vocab_size": len(VOCABULARY),
        "inputs": ["input_ids", "attention_mask"],
    }


def _tokenizer() -> bytes:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.add_special_tokens(list(SPECIAL))
    text: str = tokenizer.to_str()
    return text.encode()


def _graph(weights: Mapping[str, Floats], leaky: bool) -> bytes:
    """Embedding look-up, one dense layer, masked mean; rows do not see each other unless `leaky`."""
    from onnx import TensorProto, helper

    node = helper.make_node
    nodes = [
        node("Gather", ["table", "input_ids"], ["embedded"]),
        node("MatMul", ["embedded", "dense.weight"], ["projected"]),
        node("Add", ["projected", "dense.bias"], ["shifted"]),
        node("Tanh", ["shifted"], ["activated" if leaky else "tokens"]),
    ]
    if leaky:
        nodes += [
            node("ReduceMean", ["activated", "batch_axis"], ["neighbours"], keepdims=1),
            node("Sub", ["activated", "neighbours"], ["tokens"]),
        ]
    nodes += [
        node("Gather", ["tokens", "first"], ["cls"], axis=1),
        node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["mask", "last_axis"], ["mask_column"]),
        # Where, not Mul: NaN times a zero mask would still be NaN.
        node("Greater", ["mask_column", "zero"], ["live"]),
        node("Where", ["live", "tokens", "zero"], ["masked"]),
        # CumSum adds strictly in order: trailing padding changes no bit, as it does with ReduceSum.
        node("CumSum", ["masked", "cumulative_axis"], ["running"]),
        node("Gather", ["running", "last"], ["total"], axis=1),
        node("ReduceSum", ["mask", "length_axis"], ["count"], keepdims=1),
        node("Max", ["count", "one"], ["divisor"]),
        node("Div", ["total", "divisor"], ["mean"]),
    ]
    constants: dict[str, npt.NDArray[Any]] = {
        **weights,
        "first": np.array(0, np.int64),
        "length_axis": np.array([1], np.int64),
        "cumulative_axis": np.array(1, np.int64),
        "last": np.array(-1, np.int64),
        "last_axis": np.array([2], np.int64),
        "zero": np.array(0, np.float32),
        "one": np.array(1, np.float32),
    }
    if leaky:
        constants["batch_axis"] = np.array([0], np.int64)
    width = weights["dense.bias"].shape[0]
    inputs = {"input_ids": ("INT64", ["n", "length"]), "attention_mask": ("INT64", ["n", "length"])}
    outputs = {"tokens": ["n", "length", width], "cls": ["n", width], "mean": ["n", width]}
    return _model("toy_backbone", nodes, inputs, outputs, constants)


def _parameters(store: BlobStore, head: ToyHead, width: int, out: int) -> Digest:
    weight, bias = linear_parameters(head, width)
    if head.form == "linear":
        return store.put_bytes(_safetensors({"weight": weight, "bias": bias}))
    if head.form not in ("graph", "throwing"):
        raise InvalidInput(f"toy head form {head.form!r} is not known; expected 'linear', 'graph' or 'throwing'")
    ragged = head.tap == "tokens"
    return store.put_bytes(_head_graph(weight, bias, throwing=head.form == "throwing", ragged=ragged))


def _head_graph(weight: Floats, bias: Floats, *, throwing: bool, ragged: bool) -> bytes:
    from onnx import TensorProto, helper

    node = helper.make_node
    nodes = [
        node("MatMul", ["features", "weight"], ["product"]),
        node("Add", ["product", "bias"], ["sum" if throwing else "outputs"]),
    ]
    constants: dict[str, npt.NDArray[Any]] = {"weight": weight, "bias": bias}
    if throwing:
        # The first feature's sign becomes an index into one element: 0 is there, 1 is out of range.
        nodes += [
            node("Gather", ["features", "first"], ["feature"], axis=1),
            node("Greater", ["feature", "zero"], ["positive"]),
            node("Cast", ["positive"], ["index"], to=TensorProto.INT64),
            node("Gather", ["only", "index"], ["looked_up"]),
            node("Add", ["sum", "looked_up"], ["outputs"]),
        ]
        constants |= {
            "first": np.array([0], np.int64),
            "zero": np.array(0, np.float32),
            "only": np.zeros(1, np.float32),
        }
    width, out = weight.shape
    axes: list[str | int] = ["n", "positions"] if ragged else ["n"]
    inputs = {"features": ("FLOAT", [*axes, width])}
    return _model("toy_head", nodes, inputs, {"outputs": [*axes, out]}, constants)


def _model(
    name: str,
    nodes: Sequence[Any],
    inputs: Mapping[str, tuple[str, Sequence[str | int]]],
    outputs: Mapping[str, Sequence[str | int]],
    constants: Mapping[str, npt.NDArray[Any]],
) -> bytes:
    from onnx import TensorProto, checker, helper, numpy_helper

    graph = helper.make_graph(
        list(nodes),
        name,
        [helper.make_tensor_value_info(n, TensorProto.DataType.Value(t), s) for n, (t, s) in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), key) for key, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def _safetensors(tensors: Mapping[str, Floats]) -> bytes:
    from safetensors.numpy import save

    data: bytes = save({name: np.ascontiguousarray(array) for name, array in tensors.items()})
    return data
