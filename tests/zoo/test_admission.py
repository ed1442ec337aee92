"""What the store takes: judged by content, whatever the file is called."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import json
import lzma
import pickle
import pickletools
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save

from headstock.errors import InvalidInput
from headstock.store import BlobStore, Content
from headstock.store.admission import admit

F32 = np.float32


class Harmful:
    """Pickles into a call, like an exploit; never unpickled here."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("this must never be printed",)


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "store")


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    def write(data: bytes, name: str = "file") -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


# ---------------------------------------------------------------------------------------------- pickle
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", [Harmful(), {"weights": [1.0, 2.0], "epoch": 3}], ids=["code", "data"])
@pytest.mark.parametrize("name", ["model.pt", "model.safetensors", "model.onnx", "README.md"])
def test_pickle_is_refused_under_any_name_and_protocol(
    store: BlobStore, file: Callable[..., Path], protocol: int, value: object, name: str
) -> None:
    with pytest.raises(InvalidInput, match=f"'{name}' holds pickled Python") as caught:
        store.put_file(file(pickle.dumps(value, protocol=protocol), name))
    assert "safetensors" in (caught.value.fix or "")
    assert list(store.digests()) == []


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_longer_than_what_is_looked_at_is_refused(store: BlobStore, protocol: int) -> None:
    with pytest.raises(InvalidInput, match="pickled Python"):
        store.put_bytes(pickle.dumps([Harmful(), *(f"row {i}" for i in range(20_000))], protocol=protocol))


@pytest.mark.parametrize(
    "pack",
    [gzip.compress, zlib.compress, bz2.compress, lzma.compress],
    ids=["gzip", "zlib", "bz2", "xz"],
)
def test_compressed_pickle_is_refused(store: BlobStore, pack: Callable[[bytes], bytes]) -> None:
    with pytest.raises(InvalidInput, match="pickled Python"):
        store.put_bytes(pack(pickle.dumps(Harmful())))


@pytest.mark.parametrize("member", ["archive/data.pkl", "weights.bin"])
def test_a_zip_that_holds_pickle_is_refused(store: BlobStore, file: Callable[..., Path], member: str) -> None:
    path = file(b"", "model.safetensors")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("version", "3")
        archive.writestr(member, pickle.dumps({"weight": 1}))

    with pytest.raises(InvalidInput, match="pickled Python"):
        store.put_file(path)


def test_a_zip_behind_other_bytes_is_still_a_zip(store: BlobStore, file: Callable[..., Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "inner.zip", "w") as archive:
        archive.writestr("data.pkl", pickle.dumps(1))

    with pytest.raises(InvalidInput, match="pickled Python"):
        store.put_file(file(b"#!/bin/sh\n" + (tmp_path / "inner.zip").read_bytes(), "installer"))


def test_a_real_torch_checkpoint_is_refused(store: BlobStore, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "model.onnx")

    with pytest.raises(InvalidInput, match="pickled Python"):
        store.put_file(tmp_path / "model.onnx")


def test_numpy_arrays_of_objects_are_refused(store: BlobStore, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}], dtype=object))

    for name in ("a.npy", "a.npz"):
        with pytest.raises(InvalidInput, match="pickled Python"):
            store.put_file(tmp_path / name)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"0.",
        b"N.",
        b"MIT License\n\nCopyright (c) 2026",
        b"Apache-2.0.",
        b"{}",
        b"cat\ndog\n",
        b"(c) me.",
        b"\xef\xbb\xbftext",
    ],
)
def test_ordinary_text_is_not_taken_for_pickle(store: BlobStore, text: bytes) -> None:
    assert store.read_bytes(store.put_bytes(text)) == text


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_printable_text_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "text").write_bytes("".join(c for c in text if c.isprintable() or c == "\n").encode())
    admit(tmp_path / "text", content="text")


def test_a_header_whose_first_word_parses_as_pickle_is_still_safetensors(store: BlobStore) -> None:
    """A string of eight bytes, then operations to a full stop; but they take from a stack what nobody put there."""
    # 2136 is 0x0858, and `X` begins a string whose length follows. Behind it stand the letters of "features.1.".
    header = {"features.1.mean": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}
    raw = json.dumps(header).encode().ljust(2136)
    data = len(raw).to_bytes(8, "little") + raw + bytes(12)
    assert {operation.name for operation, _, _ in pickletools.genops(data)} >= {"STOP", "SETITEMS"}

    assert store.read_bytes(store.put_bytes(data)) == data


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", [Harmful(), {"a": [1], "b": [2, 3]}], ids=["code", "data"])
def test_a_pickle_that_begins_like_safetensors_is_refused(store: BlobStore, value: object, protocol: int) -> None:
    """A string that takes the length and the first letters of the header, dropped again; then any pickle."""
    raw = (b'{"abc' + b"0" + pickle.dumps(value, protocol=protocol)).ljust(2136)
    data = len(raw).to_bytes(8, "little") + raw
    with pytest.raises(InvalidInput, match="pickled Python"):
        store.put_bytes(data)


def test_a_header_length_that_looks_like_pickle_is_still_safetensors(store: BlobStore) -> None:
    # 640 is 0x0280: the first two bytes of this file are those of a pickle of protocol 2.
    data = save({"w": np.zeros(3, F32)})
    body = data[8 + int.from_bytes(data[:8], "little") :]
    header = json.dumps({"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}).encode().ljust(640)
    data = (640).to_bytes(8, "little") + header + body
    assert data.startswith(b"\x80\x02")

    store.put_bytes(data, content="weights")


# ---------------------------------------------------------------------------------------------- safetensors
def safetensors(header: dict[str, Any] | bytes, body: bytes, length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw + body


def tensor(start: int, end: int, shape: list[int] | None = None, dtype: str = "F32") -> dict[str, Any]:
    return {
        "dtype": dtype,
        "shape": [(end - start) // 4] if shape is None else shape,
        "data_offsets": [start, end],
    }


def test_real_safetensors_are_taken(store: BlobStore) -> None:
    data = save(
        {"a": np.ones((2, 3), F32), "b": np.zeros(0, np.int64), "c": np.zeros(5, np.float16)},
        {"format": "pt"},
    )

    assert store.read_bytes(store.put_bytes(data, content="weights")) == data


MALFORMED = {
    "header longer than the file": safetensors({"a": tensor(0, 8)}, b"\0" * 8, length=10_000),
    "header of a terabyte": safetensors({"a": tensor(0, 8)}, b"\0" * 8, length=2**39),
    "truncated": safetensors({"a": tensor(0, 8)}, b"\0" * 7),
    "trailing bytes": safetensors({"a": tensor(0, 8)}, b"\0" * 9),
    "overlap": safetensors({"a": tensor(0, 8), "b": tensor(4, 12)}, b"\0" * 12),
    "hole": safetensors({"a": tensor(0, 8), "b": tensor(12, 16)}, b"\0" * 16),
    "negative offset": safetensors({"a": tensor(-4, 4)}, b"\0" * 4),
    "shape too large": safetensors({"a": tensor(0, 8, [2**40])}, b"\0" * 8),
    "unknown dtype": safetensors({"a": tensor(0, 8, dtype="OBJECT")}, b"\0" * 8),
    "size is a float": safetensors({"a": tensor(0, 8, [2.0])}, b"\0" * 8),  # type: ignore[list-item]
    "size is a truth value": safetensors({"a": tensor(0, 4, [True])}, b"\0" * 4),
    "unknown key": safetensors({"a": {**tensor(0, 4), "code": "x"}}, b"\0" * 4),
    "no offsets": safetensors({"a": {"dtype": "F32", "shape": [1]}}, b"\0" * 4),
    "duplicate tensor": safetensors(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b"\0" * 4,
    ),
    "duplicate key inside": safetensors(
        b'{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"\0" * 4
    ),
    "metadata not strings": safetensors({"__metadata__": {"a": 1}}, b""),
    "not JSON": safetensors(b"{not json}", b""),
    "deep JSON": safetensors(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b""),
}


@pytest.mark.parametrize("fault", MALFORMED)
@pytest.mark.parametrize("content", [None, "weights", "parameters"])
def test_malformed_safetensors_are_refused_whatever_they_are_called(
    store: BlobStore, file: Callable[..., Path], fault: str, content: Content | None
) -> None:
    with pytest.raises(InvalidInput, match="'blob' is not well-formed safetensors"):
        store.put_file(file(MALFORMED[fault], "blob"), content=content)


def test_a_file_named_safetensors_must_be_safetensors(store: BlobStore, file: Callable[..., Path]) -> None:
    with pytest.raises(InvalidInput, match="not well-formed safetensors"):
        store.put_file(file(b"hello, this is text and long enough", "model.safetensors"))


@pytest.mark.parametrize("magic, what", [(b"GGUF\3\0\0\0", "GGUF"), (b"\x89HDF\r\n\x1a\n", "HDF5"), (b"text", "text")])
def test_weights_in_another_format_are_refused_by_its_name(store: BlobStore, magic: bytes, what: str) -> None:
    with pytest.raises(InvalidInput, match=f"expected to be safetensors weights.*{what}"):
        store.put_bytes(magic + b"\1" * 20, content="weights")


# ---------------------------------------------------------------------------------------------- ONNX
def graph(**options: Any) -> onnx.ModelProto:
    """`y = x @ w`, with `w` inside the file."""
    weight = numpy_helper.from_array(np.eye(4, dtype=F32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"], domain=options.get("domain", ""))
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in ("x", "y")]
    body = helper.make_graph([node, *options.get("nodes", [])], "g", values[:1], values[1:], [weight])
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)])


def external(value: onnx.TensorProto) -> onnx.TensorProto:
    """The tensor, kept in a file beside the model."""
    value.ClearField("raw_data")
    value.data_location = TensorProto.EXTERNAL
    value.external_data.add(key="location", value="../../etc/passwd")
    return value


def in_a_subgraph(value: onnx.TensorProto) -> onnx.NodeProto:
    branch = helper.make_graph([helper.make_node("Constant", [], ["c"], value=value)], "then", [], [])
    return helper.make_node("If", ["x"], ["z"], then_branch=branch, else_branch=branch)


def test_a_self_contained_graph_is_taken(store: BlobStore) -> None:
    data = graph().SerializeToString()

    assert store.read_bytes(store.put_bytes(data, content="graph")) == data


def test_external_data_is_refused_wherever_it_hides(store: BlobStore) -> None:
    def tensors() -> onnx.TensorProto:
        return external(numpy_helper.from_array(np.ones(4, F32), "hidden"))

    initializer = graph()
    initializer.graph.initializer.append(tensors())
    attribute = graph(nodes=[helper.make_node("Constant", [], ["c"], value=tensors())])
    nested = graph(nodes=[in_a_subgraph(tensors())])
    sparse = graph()
    sparse.graph.sparse_initializer.add().values.CopyFrom(tensors())
    function = graph()
    function.functions.add(name="f", domain="local").node.add(op_type="Constant").attribute.add(
        name="value", type=onnx.AttributeProto.TENSOR
    ).t.CopyFrom(tensors())
    training = graph()
    training.training_info.add().algorithm.initializer.append(tensors())

    for model in (initializer, attribute, nested, sparse, function, training):
        with pytest.raises(InvalidInput, match="keeps weights in another file"):
            store.put_bytes(model.SerializeToString())


def test_operators_that_need_a_library_are_refused(store: BlobStore) -> None:
    with pytest.raises(InvalidInput, match=r"operator sets \['evil\.ops'\]"):
        store.put_bytes(graph(domain="evil.ops").SerializeToString())


def test_operators_that_the_model_defines_itself_are_taken(store: BlobStore) -> None:
    model = graph(domain="local")
    model.functions.add(name="MatMul", domain="local")

    store.put_bytes(model.SerializeToString(), content="graph")


def test_a_torn_graph_is_refused(store: BlobStore) -> None:
    data = graph().SerializeToString()

    with pytest.raises(InvalidInput, match="not a whole ONNX model"):
        store.put_bytes(data[:-3], content="graph")


@pytest.mark.parametrize("data", [b"", b"not a graph", b"\xff" * 40])
def test_a_file_named_onnx_must_be_a_graph(store: BlobStore, file: Callable[..., Path], data: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"'model\.onnx'"):
        store.put_file(file(data, "model.onnx"))


def test_nesting_without_end_is_refused(store: BlobStore) -> None:
    data = b""
    for _ in range(400):  # an If within an If within an If...
        for field in (6, 5, 1):  # AttributeProto.g, NodeProto.attribute, GraphProto.node
            data = bytes([field << 3 | 2]) + varint(len(data)) + data

    with pytest.raises(InvalidInput, match="nest deeper"):
        store.put_bytes(b"\x08\x0a" + b"\x3a" + varint(len(data)) + data)


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_taken_or_refused_but_never_crash(tmp_path: Path, data: bytes) -> None:
    for prefix in (b"", b"\x08\x0a\x3a", b"\x20\0\0\0\0\0\0\0{"):
        (tmp_path / "blob").write_bytes(prefix + data)
        with contextlib.suppress(InvalidInput):
            admit(tmp_path / "blob")


# ---------------------------------------------------------------------------------------------- JSON and text
@pytest.mark.parametrize("data", [b"{", b"[NaN]", b"\xff\xfe", b"[" * 100_000])
def test_what_should_be_json_must_parse(store: BlobStore, data: bytes) -> None:
    with pytest.raises(InvalidInput, match="expected to be JSON"):
        store.put_bytes(data, content="json")


def test_what_should_be_text_holds_no_zero_byte(store: BlobStore) -> None:
    with pytest.raises(InvalidInput, match="expected to be text"):
        store.put_bytes(b"MIT\0License", content="text")
