"""Family gpt: causal, padded on the right, and the last real token stands for the text."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from headstock.cli.pull import command as pull_command
from headstock.errors import InvalidInput, Unsupported
from headstock.hookspecs import SourceFiles
from headstock.preprocess import open_preprocessor
from headstock.testing import check_family
from headstock.testing.tiny_text import make_legacy, make_tiny_gpt
from headstock_text.gpt import GptFamily
from headstock_text.pooling import last_token

FAMILY = GptFamily()
IDS = torch.tensor([[7, 10, 20, 30, 2], [5, 40, 3, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


def source(folder: Path, **changes: Any) -> SourceFiles:
    """The source that a pull of this folder would give, with keys of its config.json changed."""
    return SourceFiles(folder, json.loads((folder / "config.json").read_text()) | changes, "path:tiny")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint; never written to."""
    return make_tiny_gpt(tmp_path_factory.mktemp("gpt") / "tiny")


@pytest.fixture
def tiny(original: Path, tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint, to change."""
    return Path(shutil.copytree(original, tmp_path / "tiny"))


def answers(files: SourceFiles, ids: torch.Tensor = IDS) -> dict[str, torch.Tensor]:
    """All taps for two rows, the second one shorter."""
    with torch.inference_mode():
        taps: dict[str, torch.Tensor] = FAMILY.load(files)(ids, MASK)
    return taps


def test_the_family_keeps_every_promise_of_the_contract(original: Path) -> None:
    """The same kit that third parties run."""
    assert [r for r in check_family(FAMILY, source(original)) if not r.passed] == []


def test_pulled_through_the_command_line_it_may_share_batches(original: Path, tmp_path: Path) -> None:
    """Recognised, exported, equal to torch, and bit-equal alone and in company."""
    done = CliRunner().invoke(
        pull_command, [f"path:{original}", "--name", "tiny", "--format", "json"], env={"HEADSTOCK_HOME": str(tmp_path)}
    )
    assert done.exit_code == 0, done.output
    (record,) = json.loads(done.stdout)
    assert record["shared"] is True
    assert record["measured"] == 0.0
    assert sorted(record["parity"]) == ["last", "mean", "tokens"]
    assert max(found["max_error"] for found in record["parity"].values()) < 1e-5


# --------------------------------------------------------------------------------------------- network
@pytest.mark.parametrize("head", [False, True], ids=["bare", "under a language-model head"])
def test_token_features_equal_those_of_transformers(tmp_path: Path, head: bool) -> None:
    """Bit for bit, on rows with padding, whether or not the checkpoint has a task head."""
    from transformers import GPT2Model

    folder = make_tiny_gpt(tmp_path / "tiny", head=head)
    with torch.inference_mode():
        reference = GPT2Model.from_pretrained(folder, attn_implementation="eager").eval()
        tokens = reference(IDS, attention_mask=MASK).last_hidden_state
    taps = answers(source(folder))
    assert list(taps) == ["tokens", "last", "mean"]
    assert torch.equal(taps["tokens"], tokens)
    assert torch.equal(taps["last"], torch.stack([tokens[0, 4], tokens[1, 2]]))
    assert torch.allclose(taps["mean"][1], tokens[1, :3].mean(0), atol=1e-6)


def test_it_is_causal(original: Path) -> None:
    """A later token moves no earlier one; it moves the last."""
    other = IDS.clone()
    other[0, 4] = 99
    before, after = answers(source(original)), answers(source(original), other)
    assert torch.equal(before["tokens"][0, :4], after["tokens"][0, :4])
    assert not torch.allclose(before["last"][0], after["last"][0], atol=1e-3)


def test_any_id_does_for_padding(original: Path) -> None:
    """Nothing looks back at it, so a checkpoint without a padding token needs none."""
    noisy = IDS.clone()
    noisy[1, 3:] = torch.tensor([77, 88])
    before, after = answers(source(original)), answers(source(original), noisy)
    assert torch.equal(before["last"], after["last"])
    assert torch.equal(before["mean"], after["mean"])


def test_the_last_token_is_the_last_one_that_the_mask_shows() -> None:
    """Also behind a hole; a row without any token gives its first, not an error for the whole batch."""
    tokens = torch.arange(12.0).reshape(3, 4, 1)
    mask = torch.tensor([[1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0]])
    assert last_token(tokens, mask).flatten().tolist() == [1.0, 7.0, 8.0]


def test_the_causal_masks_that_older_checkpoints_hold_are_left_out(original: Path, tiny: Path) -> None:
    """They are buffers, not weights."""
    tensors = load_file(tiny / "model.safetensors")
    masks = {f"h.{i}.attn.bias": torch.ones(1, 1, 64, 64).tril() for i in range(2)}
    save_file(tensors | masks | {"h.0.attn.masked_bias": torch.tensor(-1e4)}, tiny / "model.safetensors")
    assert torch.equal(answers(source(tiny))["last"], answers(source(original))["last"])


def test_loading_prints_nothing(original: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Also where the published ids of its ends lie outside a small vocabulary."""
    FAMILY.load(source(original))
    assert tuple(capfd.readouterr()) == ("", "")


# --------------------------------------------------------------------------------------- configuration
def test_the_architecture_holds_what_changes_the_function_and_nothing_else(original: Path) -> None:
    """A stated inner width equals the one that follows from the width; scales of attention count."""
    before = FAMILY.architecture(source(original))
    assert before["n_inner"] == 128
    assert FAMILY.architecture(source(original, n_inner=128, resid_pdrop=0.5, summary_type="mean")) == before
    assert FAMILY.architecture(source(original, scale_attn_by_inverse_layer_idx=True)) != before


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"add_cross_attention": True}, "is a GPT-2 decoder"),
        ({"n_inner": 96}, r"shape \[128\]; config.json promises \[96\]"),
        ({"scale_attn_weights": 1}, "scale_attn_weights is 1; expected a bool"),
        ({"n_layer": 3}, "lacks 12 weights"),
    ],
)
def test_configurations_of_another_function_are_refused(original: Path, changes: dict[str, Any], message: str) -> None:
    """By the key or the weight that says so."""
    with pytest.raises((InvalidInput, Unsupported), match=message):
        FAMILY.load(source(original, **changes))


# ------------------------------------------------------------------------------------------- tokenizer
def test_the_spec_needs_no_padding_token(original: Path) -> None:
    """The id is 0 where the checkpoint names none, and texts get no special tokens."""
    files = source(original)
    spec = FAMILY.preprocess(files)
    assert (spec.options["pad_id"], spec.options["max_length"]) == (0, 64)
    reader = open_preprocessor(spec, FAMILY.files(files))
    (row,) = reader.rows(["hi"])
    assert sorted(row.tensors) == ["attention_mask", "input_ids"]
    assert row.length == 1
    with pytest.raises(InvalidInput, match="text 0 has no tokens"):
        reader.rows([""])


def test_a_checkpoint_with_vocab_and_merges_gets_the_same_tokenizer(
    original: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same as the file that newer ones ship, and as transformers makes from them."""
    from tokenizers import Tokenizer
    from transformers import GPT2Tokenizer

    monkeypatch.setenv("HEADSTOCK_HOME", str(tmp_path / "home"))
    made = Tokenizer.from_file(str(FAMILY.files(source(make_legacy(tiny)))["tokenizer"]))
    shipped = Tokenizer.from_file(str(original / "tokenizer.json"))
    reference = GPT2Tokenizer.from_pretrained(tiny)
    for text in ("where is my order?", " Größe: 9.99 €", "end<|endoftext|>", "def f(x):\n    return x"):
        assert made.encode(text).ids == shipped.encode(text).ids == reference(text)["input_ids"]


def test_damaged_merges_are_refused(tiny: Path) -> None:
    """By the names of the files."""
    make_legacy(tiny)
    (tiny / "merges.txt").write_text("no such pair of tokens at all\n")
    with pytest.raises(InvalidInput, match=r"vocab\.json and merges\.txt is not a byte-level BPE"):
        FAMILY.files(source(tiny))
