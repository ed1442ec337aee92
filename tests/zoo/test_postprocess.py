"""Answers are declared, typed and made by numpy alone; the documentation lists every one of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstock import postprocess
from headstock.errors import Unsupported

DOCUMENT = Path(__file__).parents[2] / "docs" / "heads.md"
CONTEXT = {
    "text": "q late order",
    "offsets": np.array([[0, 0], [2, 6], [7, 12]], np.int32),
    "words": np.array([-1, 0, 1], np.int32),
}
RAW = np.array([[0.5, -1.0, 2.0], [3.0, 0.0, -2.0]], np.float32)
ROWS = [RAW.repeat(2, axis=0)[:3], RAW[:1]]
SPECS: dict[str, tuple[dict[str, Any], Any]] = {
    "classification": ({"labels": ["a", "b", "c"]}, RAW),
    "multi-label": ({"labels": ["a", "b", "c"], "threshold": 0.5}, RAW),
    "regression": ({"unit": "m"}, RAW[:, :1]),
    "embedding": ({"width": 3, "normalise": True}, RAW),
    "token-classification": ({"labels": ["O", "B-X", "I-X"]}, ROWS),
    "answer": ({"most_tokens": 5}, [row[:, :2] for row in ROWS]),
    "transcript": ({"alphabet": ["a", "b"]}, ROWS),
    "anomaly": ({}, np.abs(RAW).reshape(2, 1, 3)),
}
DTYPES = {"FP32": np.float32, "INT64": np.int64, "BOOL": np.bool_, "BYTES": np.object_}


def _contexts() -> list[dict[str, Any]]:
    return [CONTEXT, {**CONTEXT, "offsets": CONTEXT["offsets"][:1], "words": CONTEXT["words"][:1]}]


@pytest.mark.parametrize("kind", postprocess.KINDS)
def test_every_kind_answers_what_it_declares(kind: str) -> None:
    """Names in order, datatypes, and shapes that are fixed where the declaration is."""
    spec, raw = SPECS[kind]
    spec = {"kind": kind, **spec}
    contexts = None if postprocess.reads(spec) == "any" else _contexts()
    answers = postprocess.apply(spec, raw, contexts)
    declared = postprocess.outputs(spec)
    assert list(answers) == [tensor.name for tensor in declared]
    for tensor in declared:
        found = answers[tensor.name]
        assert found.dtype == DTYPES[tensor.datatype], tensor.name
        assert len(found.shape) == len(tensor.shape)
        assert found.shape[0] == 2
        assert all(want in (-1, got) for want, got in zip(tensor.shape, found.shape, strict=True))
        assert len(tensor.labels) in (0, found.shape[-1])


@pytest.mark.parametrize("kind", postprocess.KINDS)
def test_a_rows_answer_does_not_depend_on_the_rows_beside_it(kind: str) -> None:
    spec, raw = SPECS[kind]
    spec = {"kind": kind, **spec}
    needs = postprocess.reads(spec) != "any"
    both = postprocess.apply(spec, raw, _contexts() if needs else None)
    alone = postprocess.apply(spec, raw[:1], _contexts()[:1] if needs else None)
    for name, value in alone.items():
        expected = both[name][:1]
        assert value.tolist() == expected[tuple(slice(0, n) for n in value.shape)].tolist(), name


@pytest.mark.parametrize("kind", postprocess.KINDS)
def test_what_nobody_asked_for_changes_nothing_of_what_somebody_did(kind: str) -> None:
    spec, raw = SPECS[kind]
    spec = {"kind": kind, **spec}
    contexts = None if postprocess.reads(spec) == "any" else _contexts()
    everything = postprocess.apply(spec, raw, contexts)
    for name, value in everything.items():
        np.testing.assert_array_equal(postprocess.apply(spec, raw, contexts, [name])[name], value)


def test_logits_alone_cost_no_reading_of_them() -> None:
    for kind in ("classification", "multi-label", "token-classification", "answer", "transcript"):
        spec, raw = SPECS[kind]
        contexts = None if postprocess.reads({"kind": kind}) == "any" else _contexts()
        found = postprocess.apply({"kind": kind, **spec}, raw, contexts, ["logits"])
        assert set(found) <= {"logits", "lengths"}, kind


@pytest.mark.parametrize("kind", postprocess.KINDS)
def test_a_spec_is_plain_json_and_survives_it(kind: str) -> None:
    spec = {"kind": kind, **SPECS[kind][0]}
    assert postprocess.outputs(json.loads(json.dumps(spec))) == postprocess.outputs(spec)


def test_the_documentation_lists_every_kind_with_its_outputs() -> None:
    """Name, datatype and number of axes, in order; nothing more and nothing less."""
    documented: list[tuple[str, str, str, int]] = []
    kind = ""
    for line in DOCUMENT.read_text().splitlines():
        row = re.match(r"\| (`[\w-]+`)? ?\| `(\w+)` \| ([A-Z0-9]+) \| \[([^\]]+)\] \|", line)
        if row:
            kind = (row[1] or f"`{kind}`").strip("`")
            documented.append((kind, row[2], row[3], len(row[4].split(","))))
    declared = [
        (kind, tensor.name, tensor.datatype, len(tensor.shape))
        for kind, (spec, _) in SPECS.items()
        for tensor in postprocess.outputs({"kind": kind, **spec})
    ]
    assert documented == declared
    assert set(SPECS) == set(postprocess.KINDS)


def test_an_unknown_kind_says_which_are_known() -> None:
    """A server that is older than the model must not guess."""
    for ask in (postprocess.outputs, postprocess.reads, postprocess.per_position):
        with pytest.raises(Unsupported, match=r"kind 'haiku' is not known.*'classification'"):
            ask({"kind": "haiku"})
    with pytest.raises(Unsupported):
        postprocess.apply({}, RAW)


def test_sigmoid_and_softmax_hold_at_both_ends() -> None:
    """No overflow, no NaN, no warning."""
    extreme = np.array([[-1e4, 0.0, 1e4]], np.float32)
    assert postprocess.sigmoid(extreme).tolist() == [[0.0, 0.5, 1.0]]
    assert postprocess.softmax(extreme).tolist() == [[0.0, 0.0, 1.0]]


def test_answers_need_neither_torch_nor_a_runtime() -> None:
    """Clients and servers share this code; it must stay light."""
    code = (
        "import sys, headstock.postprocess\n"
        "print([m for m in ('torch', 'onnxruntime', 'tokenizers', 'transformers', 'grpc') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
