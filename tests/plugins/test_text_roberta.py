"""Family roberta: positions start behind the padding's, there are no token types, and padding leaves no trace."""

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
from headstock.testing.tiny_text import make_legacy, make_tiny_roberta
from headstock_text.roberta import RobertaFamily

FAMILY = RobertaFamily()
IDS = torch.tensor([[0, 10, 20, 30, 2], [0, 40, 2, 1, 1]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
PAD = 1


def source(folder: Path, **changes: Any) -> SourceFiles:
    """The source that a pull of this folder would give, with keys of its config.json changed."""
    return SourceFiles(folder, json.loads((folder / "config.json").read_text()) | changes, "path:tiny")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint; never written to."""
    return make_tiny_roberta(tmp_path_factory.mktemp("roberta") / "tiny")


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
    assert sorted(record["parity"]) == ["cls", "mean", "tokens"]
    assert max(found["max_error"] for found in record["parity"].values()) < 1e-5


# --------------------------------------------------------------------------------------------- network
@pytest.mark.parametrize("head", [False, True], ids=["bare", "under a language-model head"])
def test_token_features_equal_those_of_transformers(tmp_path: Path, head: bool) -> None:
    """Bit for bit, on rows with padding, whether or not the checkpoint has a task head."""
    from transformers import RobertaModel

    folder = make_tiny_roberta(tmp_path / "tiny", head=head)
    with torch.inference_mode():
        reference = RobertaModel.from_pretrained(folder, add_pooling_layer=False, attn_implementation="eager").eval()
        tokens = reference(IDS, MASK).last_hidden_state
    taps = answers(source(folder))
    assert torch.equal(taps["tokens"], tokens)
    assert torch.equal(taps["cls"], tokens[:, 0])
    assert torch.allclose(taps["mean"][1], tokens[1, :3].mean(0), atol=1e-6)


def test_positions_start_behind_the_paddings_own(original: Path, tiny: Path) -> None:
    """The positions up to the padding id are no token's; the first token has the one after it."""
    name = "embeddings.position_embeddings.weight"
    before = answers(source(original))["tokens"]

    def with_noise_at(position: int) -> torch.Tensor:
        tensors = load_file(original / "model.safetensors")
        tensors[name][position] += torch.linspace(-5, 5, 32)
        save_file(tensors, tiny / "model.safetensors")
        return answers(source(tiny))["tokens"]

    for position in (0, PAD):
        assert torch.equal(with_noise_at(position)[MASK.bool()], before[MASK.bool()])
    assert not torch.allclose(with_noise_at(PAD + 1)[:, 0], before[:, 0], atol=1e-3)


def test_what_stands_behind_a_row_changes_nothing(original: Path) -> None:
    """Not even ids that are no padding, which would count as positions."""
    noisy = IDS.clone()
    noisy[1, 3:] = torch.tensor([77, 88])
    plain, other = answers(source(original)), answers(source(original), noisy)
    assert torch.equal(plain["tokens"][1, :3], other["tokens"][1, :3])
    assert torch.equal(plain["mean"], other["mean"])


def test_a_row_may_fill_all_positions_but_the_paddings(original: Path) -> None:
    """62 tokens for 64 positions, as 512 for the published 514."""
    files = source(original)
    spec = FAMILY.preprocess(files)
    assert spec.options["max_length"] == 62
    (row,) = open_preprocessor(spec, FAMILY.files(files)).rows(["word " * 200])
    assert (row.length, row.truncated) == (62, True)
    ids = torch.from_numpy(row.tensors["input_ids"])[None]
    with torch.inference_mode():
        assert FAMILY.load(files)(ids, torch.ones_like(ids))["tokens"].isfinite().all()


# --------------------------------------------------------------------------------------- configuration
def test_it_recognises_roberta_and_xlm_roberta() -> None:
    """By model_type; by architecture where a configuration is older than that key."""
    for config, expected in [
        ({"model_type": "roberta"}, True),
        ({"model_type": "xlm-roberta"}, True),
        ({"architectures": ["RobertaForMaskedLM"]}, True),
        ({"model_type": "bert"}, False),
        ({}, False),
    ]:
        assert FAMILY.recognises(SourceFiles(Path("nowhere"), config, "path:x")) is expected


def test_the_padding_id_is_part_of_the_architecture(original: Path) -> None:
    """It moves every position, so it names another function; dropout does not."""
    before = FAMILY.architecture(source(original))
    assert before["pad_token_id"] == PAD
    assert FAMILY.architecture(source(original, pad_token_id=2)) != before
    assert FAMILY.architecture(source(original, hidden_dropout_prob=0.5)) == before
    assert FAMILY.preprocess(source(original, pad_token_id=2)).options["pad_id"] == 2


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"is_decoder": True}, "is a RoBERTa decoder"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
        ({"auto_map": {"AutoModel": "evil--code.Model"}}, "key 'auto_map', which chooses code to run"),
        ({"hidden_size": 33}, "describes no network: "),
        ({"num_hidden_layers": 3}, "lacks 16 weights"),
    ],
)
def test_configurations_of_another_function_are_refused(original: Path, changes: dict[str, Any], message: str) -> None:
    """By the key that says so."""
    with pytest.raises((InvalidInput, Unsupported), match=message):
        FAMILY.load(source(original, **changes))


# ------------------------------------------------------------------------------------------- tokenizer
def test_rows_have_no_token_types(original: Path) -> None:
    """The spec lists exactly the network's inputs, and texts stand between `<s>` and `</s>`."""
    files = source(original)
    spec = FAMILY.preprocess(files)
    assert spec.options["inputs"] == ["input_ids", "attention_mask"]
    (row,) = open_preprocessor(spec, FAMILY.files(files)).rows(["where is my order?"])
    assert sorted(row.tensors) == ["attention_mask", "input_ids"]
    assert row.tensors["input_ids"][[0, -1]].tolist() == [0, 2]


def test_a_checkpoint_with_vocab_and_merges_gets_the_same_tokenizer(
    original: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same as the file that newer ones ship, and as transformers makes from them."""
    from tokenizers import Tokenizer
    from transformers import RobertaTokenizer

    monkeypatch.setenv("HEADSTOCK_HOME", str(tmp_path / "home"))
    path = FAMILY.files(source(make_legacy(tiny)))["tokenizer"]
    assert path == FAMILY.files(source(tiny))["tokenizer"]
    made, shipped = Tokenizer.from_file(str(path)), Tokenizer.from_file(str(original / "tokenizer.json"))
    reference = RobertaTokenizer.from_pretrained(tiny)
    for text in ("where is my order?", "a<mask> b", "Größe: 9.99 €", "<s>hi</s>"):
        assert made.encode(text).ids == shipped.encode(text).ids == reference(text)["input_ids"]
    # The blank before a mask belongs to it; transformers 5 forgets that where only these two files exist.
    assert made.encode("a <mask> b").ids == made.encode("a<mask> b").ids == shipped.encode("a <mask> b").ids


def test_a_checkpoint_without_any_tokenizer_is_refused(tiny: Path) -> None:
    """Naming what would do."""
    (tiny / "tokenizer.json").unlink()
    with pytest.raises(InvalidInput, match=r"neither 'tokenizer\.json' nor 'vocab\.json' and 'merges\.txt'"):
        FAMILY.files(source(tiny))


def test_a_vocabulary_without_the_special_tokens_is_refused(tiny: Path) -> None:
    """By the token."""
    make_legacy(tiny)
    vocabulary = json.loads((tiny / "vocab.json").read_text())
    (tiny / "vocab.json").write_text(json.dumps({k: v for k, v in vocabulary.items() if k != "</s>"}))
    with pytest.raises(InvalidInput, match="lacks the special token '</s>'"):
        FAMILY.files(source(tiny))
