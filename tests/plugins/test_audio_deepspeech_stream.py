"""DeepSpeech piece by piece: a graph with the state in and out that answers as the whole recording does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner, Result

from headstock.catalogue import Catalogue
from headstock.cli.main import cli
from headstock.errors import InvalidInput
from headstock.names import Reference
from headstock.servable import load_backbone
from headstock.settings import Settings
from headstock.testing.tiny_audio import make_tiny_deepspeech
from headstock.testing.tiny_tabular import make_tiny_tabular

STEPS, FRAMES, CONTEXT, COEFFICIENTS = 16, 45, 9, 26


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stream")
    make_tiny_deepspeech(root / "deepspeech")
    assert run(root, "pull", f"path:{root / 'deepspeech'}", "--name", "speech").exit_code == 0
    return root


def run(home: Path, *arguments: str) -> Result:
    return CliRunner(env={"HEADSTOCK_HOME": str(home / "home")}).invoke(cli, arguments)


def windows(features: np.ndarray) -> np.ndarray:
    """[t, coefficients] to [t, 19, coefficients]: every frame with its neighbours, zeros beyond both ends."""
    padded = np.pad(features, ((CONTEXT, CONTEXT), (0, 0)))
    return np.stack([padded[t : t + 2 * CONTEXT + 1] for t in range(len(features))])


def streamed(path: Path, features: np.ndarray, *, remember: bool = True) -> np.ndarray:
    """Logits [t, labels + 1] of a recording that arrives `STEPS` frames at a time; the last piece is padded."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    width = session.get_inputs()[1].shape[1]
    c = h = np.zeros((1, width), np.float32)
    found = []
    pieces = windows(features)
    for start in range(0, len(pieces), STEPS):
        piece = pieces[start : start + STEPS]
        full = np.pad(piece, ((0, STEPS - len(piece)), (0, 0), (0, 0)))
        feeds = {"input_node": full[None], "previous_state_c": c, "previous_state_h": h}
        logits, new_c, new_h = session.run(["logits", "new_state_c", "new_state_h"], feeds)
        found.append(logits[0, : len(piece)])
        if remember:
            c, h = new_c, new_h
    return np.concatenate(found)


def test_pieces_equal_the_whole_and_the_state_is_why(home: Path) -> None:
    path = home / "stream.onnx"
    result = run(home, "export-deepspeech-stream", "speech", "--out", str(path))
    assert result.exit_code == 0, result.output
    assert "16 frames a call" in result.output
    features = np.random.default_rng(3).standard_normal((FRAMES, COEFFICIENTS)).astype(np.float32)
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(home / "home")})) as catalogue:
        graph = load_backbone(catalogue, catalogue.version(Reference("speech")).subject).graph
        served = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    feeds = {"features": features[None], "attention_mask": np.ones((1, FRAMES), np.int64)}
    whole = served.run(["logits"], feeds)[0][0]
    assert np.abs(streamed(path, features) - whole).max() <= 1e-5
    assert np.abs(streamed(path, features, remember=False) - whole).max() > 1e-3


def test_the_graph_has_the_inputs_and_outputs_of_the_original_export(home: Path) -> None:
    path = home / "four.onnx"
    assert run(home, "export-deepspeech-stream", "speech:1", "--out", str(path), "--steps", "4").exit_code == 0
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["input_node", "previous_state_c", "previous_state_h"]
    assert session.get_inputs()[0].shape == [1, 4, 19, 26]
    assert [o.name for o in session.get_outputs()] == ["logits", "new_state_c", "new_state_h"]


def test_other_families_have_no_state_to_carry_on(home: Path) -> None:
    make_tiny_tabular(home / "rows")
    assert run(home, "pull", f"path:{home / 'rows'}", "--name", "rows").exit_code == 0
    result = run(home, "export-deepspeech-stream", "rows", "--out", str(home / "rows.onnx"))
    assert isinstance(result.exception, InvalidInput)
    assert "rows:1 is no deepspeech backbone" in result.exception.message
    assert not (home / "rows.onnx").exists()
