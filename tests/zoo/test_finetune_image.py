"""Images from folders on disk to answers of a server: pull, fine-tune, predict, serve; digits on a random ResNet."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from headstock.catalogue import Catalogue
from headstock.cli.main import cli
from headstock.errors import HeadstockError, InvalidInput
from headstock.finetune.features import FeatureExtractor
from headstock.names import Reference
from headstock.predictor import Predictor
from headstock.settings import Settings
from headstock.testing.tiny_vision import make_tiny_resnet
from headstock_client import AsyncClient, Client, InvalidRequest, Overloaded
from headstock_server.app import Running, ServeOptions
from headstock_server.dataplane.limits import Limits
from headstock_server.engine import EngineOptions
from headstock_server.testing import background_server

ROWS = 300


def write_digits(root: Path, rows: int = ROWS) -> list[tuple[str, str]]:
    """One PNG per digit in a folder per class; returns each one's path and label."""
    from sklearn.datasets import load_digits

    data = load_digits()
    written = []
    for index in range(rows):
        path = root / str(data.target[index]) / f"{index:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((data.images[index] * 15.9).astype(np.uint8)).save(path)
        written.append((path.relative_to(root).as_posix(), str(data.target[index])))
    return written


def run(home: Path, *arguments: str) -> Result:
    result = CliRunner(env={"HEADSTOCK_HOME": str(home)}).invoke(cli, arguments)
    if result.exception is not None and not isinstance(result.exception, HeadstockError | SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with digits as PNG files, and `home` with a random ResNet and model `digits:1` on it."""
    root = tmp_path_factory.mktemp("images")
    pairs = write_digits(root / "digits")
    lines = [f"digits/{path},{label}" for path, label in pairs]
    (root / "digits.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    make_tiny_resnet(root / "resnet")
    home = root / "home"
    assert run(home, "pull", f"path:{root / 'resnet'}", "--name", "resnet").exit_code == 0
    assert grow(root, "digits").exit_code == 0
    return root


def grow(root: Path, data: str, *arguments: str, name: str = "digits") -> Result:
    base = ["--backbone", "resnet", "--head", "image-classification", "--data", str(root / data), "--name", name]
    return run(root / "home", "fine-tune", *base, "--format", "json", *arguments)


@pytest.fixture(scope="module")
def server(work: Path) -> Iterator[Running]:
    settings = Settings.from_environment({"HEADSTOCK_HOME": str(work / "home")})
    options = ServeOptions(
        bind="127.0.0.1:0",
        engine=EngineOptions(token_budget=64),
        limits=Limits(decoded_bytes=20 * 3 * 32 * 32 * 4),
    )
    with background_server(settings, options) as running:
        yield running


def some(work: Path, count: int = 6) -> list[Path]:
    return sorted((work / "digits").glob("*/*.png"))[::37][:count]


def report_of(work: Path, name: str, number: int = 1) -> dict[str, object]:
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(work / "home")})) as catalogue:
        version = catalogue.version(Reference(name, str(number)))
        report: dict[str, object] = catalogue.store.read_json(catalogue.artefact(version.subject).files["report"])
    return report


# ------------------------------------------------------------------------------------------------ fine-tune
def test_a_folder_of_digits_makes_a_model_far_above_the_majority(work: Path) -> None:
    """Random convolutions are features enough for ten digits."""
    report = report_of(work, "digits")
    assert report["input"] == "image"
    accuracy = report["metrics"][0]  # type: ignore[index]
    assert accuracy["value"] > 0.55
    assert accuracy["low"] > 0.4 > report["majority"]["high"]  # type: ignore[index]


def test_a_table_with_a_path_column_makes_the_same_features(work: Path) -> None:
    """The cache knows a sample by its bytes, wherever they are listed."""
    record = json.loads(grow(work, "digits.csv", name="listed").stdout)
    assert record["features"] == {"computed": 0, "cached": ROWS, "cache": True}
    assert record["data"]["columns"] == {"image": "path", "label": "label"}


def test_another_picture_under_the_same_name_is_other_data(work: Path, tmp_path: Path) -> None:
    """The digest of a table covers the files that it names."""
    Image.new("L", (8, 8), 9).save(tmp_path / "a.png")
    for index in range(8):
        Image.new("L", (8, 8), 20 * index).save(tmp_path / f"{index}.png")
    rows = "".join(f"{index}.png,{'light' if index > 3 else 'dark'}\n" for index in range(8))
    (tmp_path / "few.csv").write_text("image,label\n" + rows)
    base = ["--backbone", "resnet", "--head", "image-classification", "--data", str(tmp_path / "few.csv")]
    assert run(work / "home", "fine-tune", *base, "--name", "few", "--epochs", "1").exit_code == 0
    Image.new("L", (8, 8), 255).save(tmp_path / "7.png")
    again = run(work / "home", "fine-tune", "--recipe", "few:1", "--data", str(tmp_path / "few.csv"), "--name", "few")
    assert "is not the data of the recipe" in str(again.exception)


def test_an_image_that_cannot_be_decoded_is_named(work: Path, tmp_path: Path) -> None:
    """By its path in the folder."""
    write_digits(tmp_path / "some", 40)
    (tmp_path / "some" / "0" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    base = ["--backbone", "resnet", "--head", "image-classification", "--data", str(tmp_path / "some")]
    result = run(work / "home", "fine-tune", *base, "--name", "broken")
    assert isinstance(result.exception, InvalidInput)
    assert "cannot read file '0/broken.png'" in result.exception.message


def test_pictures_are_read_in_blocks_and_only_those_that_the_cache_does_not_know(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What memory holds does not grow with the data set."""
    from headstock.data import read_table
    from headstock.data.dataset import read_dataset
    from headstock.data.inputs import Media
    from headstock.servable import load_model

    asked: list[int] = []
    read = Media.read

    def counted(self: Media, rows: range) -> tuple[list[bytes], ...]:
        asked.append(len(rows))
        return read(self, rows)

    monkeypatch.setattr(Media, "read", counted)
    dataset = read_dataset(read_table(work / "digits"), {"image": "image", "label": "label"}, ["image"], ["label"])
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(work / "home")})) as catalogue:
        backbone = load_model(catalogue, catalogue.version(Reference("digits"))).backbone
    FeatureExtractor(backbone, "pooled", None).features(dataset.inputs, lambda done, total: None)
    assert asked == [128, 128, 44]


def test_heads_and_backbones_of_two_modalities_are_refused(work: Path) -> None:
    """Before any file is read."""
    result = run(
        work / "home", "fine-tune", "--backbone", "resnet", "--head", "text-classification",
        "--data", str(work / "digits.csv"), "--name", "odd",
    )  # fmt: skip
    assert "is for text, but backbone 'resnet' reads image" in str(result.exception)


# ------------------------------------------------------------------------------------------------ predict and serve
def test_predict_takes_files_and_prints_the_same_from_a_server(work: Path, server: Running) -> None:
    """Table and JSON."""
    paths = [str(path) for path in some(work)]
    here = run(work / "home", "predict", "digits", *paths, "--format", "json")
    there = run(work / "home", "predict", "digits", *paths, "--format", "json", "--server", server.address)
    assert here.exit_code == there.exit_code == 0, there.output
    ours, theirs = json.loads(here.stdout), json.loads(there.stdout)
    assert [r["image"] for r in ours] == paths
    assert [r["label"] for r in ours] == [r["label"] for r in theirs]
    assert ours[0]["score"] == pytest.approx(theirs[0]["score"], abs=1e-6)
    assert run(work / "home", "predict", "digits", paths[0]).stdout.startswith("IMAGE ")


def test_predict_names_the_file_that_is_missing_or_no_picture(work: Path, tmp_path: Path) -> None:
    """Also when other files are good."""
    good = str(some(work)[0])
    missing = run(work / "home", "predict", "digits", good, "nowhere.png")
    assert "cannot read 'nowhere.png': No such file or directory; this model reads image files" in str(
        missing.exception
    )
    (tmp_path / "text.png").write_text("hello")
    wrong = run(work / "home", "predict", "digits", good, str(tmp_path / "text.png"))
    assert "text.png'" in str(wrong.exception)


def test_the_client_sends_paths_and_bytes_to_what_the_model_declares(work: Path, server: Running) -> None:
    """And refuses text, which an image model cannot read."""
    paths = some(work)
    with Client(server.address) as client:
        assert client.raw_inputs("digits") == ("image",)
        by_path = client.classify("digits", paths)
        by_bytes = client.classify("digits", [path.read_bytes() for path in paths])
        assert by_path == by_bytes
        right = sum(answer.label == path.parent.name for answer, path in zip(by_path, paths, strict=True))
        assert right >= len(paths) // 2
        with pytest.raises(TypeError, match=r"'image' takes encoded bytes or a pathlib\.Path"):
            client.classify("digits", ["a cat"])


async def test_the_async_client_does_the_same(work: Path, server: Running) -> None:
    """One implementation behind both."""
    with Client(server.address) as client:
        expected = client.classify("digits", some(work))
    async with AsyncClient(server.address) as client:
        assert await client.classify("digits", some(work)) == expected


def test_ready_tensors_give_the_answer_of_the_encoded_picture(work: Path, server: Running) -> None:
    """Preprocessing is the server's or the caller's, and the same."""
    path = some(work)[0]
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(work / "home")})) as catalogue:
        predictor = Predictor.open(catalogue, Reference("digits"))
    row = predictor._preprocessor.rows([path.read_bytes()])[0]
    with Client(server.address) as client:
        raw = client.predict("digits", [path]).outputs["logits"]
        ready = client.infer("digits", {"pixel_values": row.tensors["pixel_values"][None]}).outputs["logits"]
    np.testing.assert_array_equal(raw, ready)


def test_a_request_whose_pictures_become_too_large_is_refused_by_size_and_not_by_memory(
    work: Path, server: Running
) -> None:
    """A plain picture is a hundred bytes on the wire."""
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "PNG")
    with Client(server.address) as client:
        assert len(client.classify("digits", [file.getvalue()] * 20)) == 20
        with pytest.raises(Overloaded, match="the first 21 of 40 samples become"):
            client.classify("digits", [file.getvalue()] * 40)


def test_a_picture_that_cannot_be_read_is_named_by_its_place(work: Path, server: Running) -> None:
    """And the server goes on."""
    good = some(work)[0].read_bytes()
    with Client(server.address) as client:
        with pytest.raises(InvalidRequest, match="image 1 cannot be read"):
            client.classify("digits", [good, b"nothing", good])
        assert client.classify("digits", [good])[0].label
