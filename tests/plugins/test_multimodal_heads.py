"""Zero-shot classification and image-text retrieval: made by the command line, served, and equal to the whole CLIP."""

from __future__ import annotations

import io
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from headstock.catalogue import Catalogue
from headstock.cli.predict import command as predict_command
from headstock.cli.pull import command as pull_command
from headstock.digest import Digest
from headstock.errors import DigestMismatch, InvalidInput, LicenceRefused
from headstock.heads.made import class_vectors, cosine_form
from headstock.names import Reference
from headstock.predictor import Predictor
from headstock.preprocess.image_samples import samples
from headstock.settings import Settings
from headstock.testing.tiny_clip import make_tiny_clip
from headstock_client import Client
from headstock_multimodal.commands import vectors_command, zero_shot_command
from headstock_server.app import Running, ServeOptions
from headstock_server.engine import EngineOptions
from headstock_server.testing import background_server

CLASSES = ("cat", "dog", "an old lamp", "the invoice for march")
TOWERS = ("--backbone", "clip-vision", "--text-backbone", "clip-text")
PICTURES: list[Any] = list(samples()[:5])


def asked(classes: tuple[str, ...] = CLASSES) -> list[str]:
    """The options that name classes."""
    return [word for name in classes for word in ("--class", name)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue with both towers of a tiny checkpoint, the text tower of another, and one that is alone."""
    folder = tmp_path_factory.mktemp("multimodal")
    make_tiny_clip(folder / "whole")
    make_tiny_clip(folder / "other", seed=5)
    make_tiny_clip(folder / "alone", tower="text")
    pulls = [
        ("whole", "clip-text", "clip-text"),
        ("whole", "clip-vision", "clip-vision"),
        ("other", "other-text", "clip-text"),
        ("alone", "lone-text", "clip-text"),
    ]
    for source, name, family in pulls:
        run(folder, pull_command, f"path:{folder / source}", "--name", name, "--family", family)
    run(folder, zero_shot_command, *TOWERS, *asked(), "--name", "pets")
    run(folder, vectors_command, "--backbone", "clip-vision", "--name", "pictures")
    run(folder, vectors_command, "--backbone", "clip-text", "--name", "queries")
    return folder


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Running]:
    settings = Settings.from_environment({"HEADSTOCK_HOME": str(home)})
    with background_server(
        settings, ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=256))
    ) as opened:
        yield opened


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[Client]:
    with Client(server.address) as opened:
        yield opened


def run(home: Path, command: Any, *arguments: str) -> Result:
    """A command that has to succeed."""
    done = CliRunner().invoke(command, list(arguments), env={"HEADSTOCK_HOME": str(home)})
    assert done.exit_code == 0, (done.output, done.exception)
    return done


def fault(home: Path, command: Any, *arguments: str) -> BaseException:
    """What a command that has to fail raises."""
    done = CliRunner().invoke(command, list(arguments), env={"HEADSTOCK_HOME": str(home)})
    assert done.exit_code != 0, done.output
    assert done.exception is not None
    return done.exception


def whole_clip(home: Path, texts: list[str]) -> Any:
    """What transformers' whole model answers for the pictures and these texts."""
    from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    folder = home / "whole"
    tokens = CLIPTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    opened = [Image.open(io.BytesIO(picture)).convert("RGB") for picture in PICTURES]
    pixels = CLIPImageProcessorPil.from_pretrained(folder)(opened, return_tensors="pt")
    with torch.inference_mode():
        return CLIPModel.from_pretrained(folder, attn_implementation="eager").eval()(**tokens, **pixels)


# ------------------------------------------------------------------------------------------------ zero-shot
def test_a_served_zero_shot_model_answers_as_the_whole_clip_does(home: Path, client: Client) -> None:
    """Logits and probabilities of images against prompts; labels are the class names."""
    expected = whole_clip(home, [f"a photo of a {name}." for name in CLASSES]).logits_per_image
    found = client.predict("pets", PICTURES).outputs
    np.testing.assert_allclose(found["logits"], expected.numpy(), atol=1e-4, rtol=0)
    np.testing.assert_allclose(found["probabilities"], expected.softmax(dim=1).numpy(), atol=1e-4, rtol=0)
    assert [label.decode() for label in found["label"]] == [CLASSES[i] for i in expected.argmax(dim=1)]
    assert float(expected.max() - expected.min()) > 0.5


def test_the_command_line_answers_the_same(home: Path, client: Client, tmp_path: Path) -> None:
    """In this process, from a file."""
    (tmp_path / "one.png").write_bytes(PICTURES[0])
    (record,) = json.loads(run(home, predict_command, "pets", str(tmp_path / "one.png"), "--format", "json").stdout)
    assert record["label"] == client.predict("pets", PICTURES[:1]).outputs["label"][0].decode()


def test_it_shares_the_image_towers_passes(server: Running, client: Client) -> None:
    """Rows of a zero-shot model and of the plain vectors run in one pass: one digest, one lane."""
    scheduler = server.scheduler

    def passes() -> tuple[int, int]:
        lanes = scheduler.statistics().backbones.values()
        return sum(lane.passes for lane in lanes), sum(lane.mixed_passes for lane in lanes)

    before = passes()
    scheduler.hold(2)
    answers: list[Any] = []
    asking = [
        threading.Thread(target=lambda model=model: answers.append(client.predict(model, PICTURES[:1])))
        for model in ("pets", "pictures")
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(30)
    assert len(answers) == 2
    assert passes() == (before[0] + 1, before[1] + 1)


def test_several_templates_are_one_direction_per_class(home: Path) -> None:
    """The mean of the prompts' directions, again of length 1."""
    templates = ["a photo of a {}.", "{}, drawn by a child"]
    options = [word for template in templates for word in ("--template", template)]
    run(home, zero_shot_command, *TOWERS, *asked(), *options, "--name", "ensemble")
    texts = [template.replace("{}", name) for name in CLASSES for template in templates]
    answer = whole_clip(home, texts)
    classes = answer.text_embeds.reshape(len(CLASSES), 2, -1).mean(dim=1)
    expected = np.exp(2.6592) * answer.image_embeds @ torch.nn.functional.normalize(classes, dim=1).T
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(home)})) as catalogue:
        found = Predictor.open(catalogue, Reference("ensemble")).predict(PICTURES).outputs["logits"]
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4, rtol=0)


def test_the_catalogue_knows_both_towers(home: Path) -> None:
    """The head stands on one and was made from the other's outputs; removing neither goes unnoticed."""
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(home)})) as catalogue:
        head = Digest(catalogue.version(Reference("pets")).details["head"])
        towers = {name: catalogue.version(Reference(name)).subject for name in ("clip-vision", "clip-text")}
        edges = {edge.relation: edge.parent for edge in catalogue.edges(child=head)}
    assert edges["head_on"] == towers["clip-vision"]
    assert edges["trained_on_outputs_of"] == towers["clip-text"]


def test_the_same_classes_again_are_the_same_version(home: Path) -> None:
    """Nothing is drawn at random."""
    assert run(home, zero_shot_command, *TOWERS, *asked(), "--name", "pets").stdout.startswith("pets:1\n")


def test_classes_may_stand_in_a_file(home: Path, tmp_path: Path) -> None:
    """One per line; empty lines are not classes."""
    (tmp_path / "classes.txt").write_text("cat\n\n dog \n", encoding="utf-8")
    run(home, zero_shot_command, *TOWERS, "--classes", str(tmp_path / "classes.txt"), "--name", "listed")
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(home)})) as catalogue:
        version = catalogue.version(Reference("listed"))
        report = catalogue.store.read_json(catalogue.artefact(version.subject).files["report"])
    assert report["labels"] == ["cat", "dog"]


def test_towers_of_different_spaces_are_refused_with_both_digests(home: Path) -> None:
    """Vectors of another checkpoint would give figures without meaning."""
    found = fault(
        home,
        zero_shot_command,
        "--backbone",
        "clip-vision",
        "--text-backbone",
        "other-text",
        *asked(),
        "--name",
        "no",
    )
    assert isinstance(found, DigestMismatch)
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(home)})) as catalogue:
        identities = [
            catalogue.artefact(catalogue.version(Reference(name)).subject).identity
            for name in ("clip-vision", "other-text")
        ]
    for identity in identities:
        assert identity["architecture"]["space"]["digest"] in found.message


@pytest.mark.parametrize(
    "options, message",
    [
        (
            ("--backbone", "clip-text", "--text-backbone", "clip-text"),
            "reads text; expected a tower that reads image",
        ),
        (
            ("--backbone", "clip-vision", "--text-backbone", "lone-text"),
            "'lone-text' names no embedding space",
        ),
        (("--backbone", "pets", "--text-backbone", "clip-text"), "pets:1 is a model; expected a backbone"),
        ((*TOWERS, "--class", "cat"), "class 'cat' is named twice"),
        ((*TOWERS, "--class", " "), "class 1 has an empty name"),
        ((*TOWERS, "--template", "a photo"), "'a photo' has {} 0 times"),
        ((*TOWERS, "--class", "very " * 40), "1 prompts are longer than 'clip-text' reads"),
    ],
)
def test_what_cannot_work_is_refused_in_words(home: Path, options: tuple[str, ...], message: str) -> None:
    """Before anything is published."""
    found = fault(home, zero_shot_command, *options, *asked(), "--name", "no")
    assert isinstance(found, InvalidInput)
    assert message in found.message


def test_the_licences_of_both_towers_are_asked_about(home: Path, tmp_path: Path) -> None:
    """Under a policy that refuses what nobody stated, nothing is made."""
    # A copy: the server of this module follows the policy of its home too.
    strict = Path(shutil.copytree(home, tmp_path / "strict"))
    (strict / "policy.toml").write_text('[mode]\nunknown = "enforce"\n', encoding="utf-8")
    assert isinstance(fault(strict, zero_shot_command, *TOWERS, *asked(), "--name", "no"), LicenceRefused)


# ------------------------------------------------------------------------------------------------ retrieval
def test_vectors_of_pictures_and_texts_compare_as_in_the_whole_clip(home: Path, client: Client) -> None:
    """Both have length 1; their products are the cosines."""
    texts = ["a photo of a lamp", "the invoice for march is wrong", "Refund, please!"]
    answer = whole_clip(home, texts)
    pictures = client.predict("pictures", PICTURES).outputs["embedding"]
    queries = client.predict("queries", texts).outputs["embedding"]
    for found in (pictures, queries):
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    expected = (answer.image_embeds @ answer.text_embeds.T).numpy()
    np.testing.assert_allclose(pictures @ queries.T, expected, atol=1e-5, rtol=0)


def test_both_models_name_the_space_in_which_they_compare(home: Path) -> None:
    """So a caller can check before comparing; another tap of the same tower is in no space."""
    run(home, vectors_command, "--backbone", "clip-vision", "--tap", "pooled", "--name", "pooled")
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(home)})) as catalogue:
        details = {name: catalogue.version(Reference(name)).details for name in ("pictures", "queries", "pooled")}
    assert details["pictures"]["space"] == details["queries"]["space"]
    assert "space" not in details["pooled"]


def test_a_tap_of_single_positions_has_no_vector_per_row(home: Path) -> None:
    found = fault(home, vectors_command, "--backbone", "clip-text", "--tap", "tokens", "--name", "no")
    assert isinstance(found, InvalidInput)
    assert found.fix == "--tap pooled"


# ----------------------------------------------------------------------------------------------- arithmetic
def test_prompts_that_cancel_out_are_refused() -> None:
    """Their mean has no direction."""
    with pytest.raises(InvalidInput, match="opposite directions"):
        class_vectors(np.array([[1, 0], [-1, 0]], np.float32), 1)


def test_the_length_of_a_prompts_vector_does_not_weigh() -> None:
    """Directions are averaged, and the scale is the exponential of what the checkpoint has."""
    found = class_vectors(np.array([[100, 0], [0, 0.1]], np.float32), 1)
    np.testing.assert_allclose(found, [[0.5**0.5, 0.5**0.5]], atol=1e-6)
    np.testing.assert_allclose(cosine_form(found, np.log(10)).weight[:, 0], [50**0.5, 50**0.5], rtol=1e-6)
