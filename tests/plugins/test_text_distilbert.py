"""Family distilbert: BERT's tokens without token types, and the same answers as transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from headstock.cli.pull import command as pull_command
from headstock.errors import InvalidInput
from headstock.hookspecs import SourceFiles
from headstock.preprocess import open_preprocessor
from headstock.testing import check_family
from headstock.testing.tiny_text import make_tiny_distilbert
from headstock_text.distilbert import DistilBertFamily

FAMILY = DistilBertFamily()
IDS = torch.tensor([[2, 10, 20, 30, 3], [2, 40, 3, 0, 0]])


def source(folder: Path, **changes: Any) -> SourceFiles:
    """The source that a pull of this folder would give, with keys of its config.json changed."""
    return SourceFiles(folder, json.loads((folder / "config.json").read_text()) | changes, "path:tiny")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint; never written to."""
    return make_tiny_distilbert(tmp_path_factory.mktemp("distilbert") / "tiny")


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


@pytest.mark.parametrize("head", [False, True], ids=["bare", "under a classifier"])
def test_token_features_equal_those_of_transformers(tmp_path: Path, head: bool) -> None:
    """Bit for bit, on rows with padding, whether or not the checkpoint has a task head."""
    from transformers import DistilBertModel

    folder = make_tiny_distilbert(tmp_path / "tiny", head=head)
    with torch.inference_mode():
        reference = DistilBertModel.from_pretrained(folder, attn_implementation="eager").eval()
        tokens = reference(IDS, (IDS > 0).long()).last_hidden_state
        taps = FAMILY.load(source(folder))(IDS, (IDS > 0).long())
    assert list(taps) == ["tokens", "cls", "mean"]
    assert torch.equal(taps["tokens"], tokens)
    assert torch.equal(taps["cls"], tokens[:, 0])
    assert torch.allclose(taps["mean"][1], tokens[1, :3].mean(0), atol=1e-6)


def test_rows_have_no_token_types(original: Path) -> None:
    """The spec lists exactly the network's inputs."""
    files = source(original)
    spec = FAMILY.preprocess(files)
    assert spec.options["inputs"] == ["input_ids", "attention_mask"]
    assert spec.options["max_length"] == 64
    (row,) = open_preprocessor(spec, FAMILY.files(files)).rows(["where is my order?"])
    assert sorted(row.tensors) == ["attention_mask", "input_ids"]


def test_the_architecture_holds_what_changes_the_function_and_nothing_else(original: Path) -> None:
    """How positions were initialised does not: the checkpoint holds them."""
    before = FAMILY.architecture(source(original))
    assert FAMILY.architecture(source(original, sinusoidal_pos_embds=True, dropout=0.5)) == before
    assert FAMILY.architecture(source(original, activation="relu")) != before


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"n_layers": 3}, "lacks 16 weights"),
        ({"n_layers": 1}, "has 16 weights .*for which its config.json"),
        ({"n_heads": 5}, "describes no network: "),
        ({"dim": "32"}, "dim is '32'; expected a int"),
    ],
)
def test_weights_that_do_not_fit_the_configuration_are_refused(
    original: Path, changes: dict[str, Any], message: str
) -> None:
    """Naming the weight or the key."""
    with pytest.raises(InvalidInput, match=message):
        FAMILY.load(source(original, **changes))
