"""Towers tuned on pairs: each half finds the other, the new towers compare with each other and with nothing else."""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from headstock.catalogue import Catalogue
from headstock.cli.card import command as card_command
from headstock.cli.continue_backbone import command as continue_command
from headstock.cli.promote import command as promote_command
from headstock.cli.pull import command as pull_command
from headstock.cli.recipe import command as recipe_command
from headstock.cli.report import command as report_command
from headstock.cli.show import command as show_command
from headstock.errors import DigestMismatch, FailedPrecondition, InvalidInput
from headstock.finetune import checkpoint
from headstock.finetune.run import RunFolder
from headstock.hookspecs import Batch, Targets
from headstock.names import Reference
from headstock.report.probed import PROBE
from headstock.settings import Settings
from headstock.testing.tiny_clip import make_tiny_clip
from headstock_multimodal.align.pairs import Pairing, PairTask, Projections, found_within
from headstock_multimodal.align_command import align_command
from headstock_multimodal.commands import vectors_command, zero_shot_command

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 50, 220), "grey": (128, 128, 128)}
TOWERS = ("--backbone", "clip-vision", "--text-backbone", "clip-text")
QUICK = ("--epochs", "60", "--lr", "1e-2", "--patience", "0", "--batch-size", "16")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both towers of a tiny checkpoint, and towers `shop-image` and `shop-text` aligned on coloured squares."""
    folder = tmp_path_factory.mktemp("align")
    make_tiny_clip(folder / "whole")
    for family in ("clip-text", "clip-vision"):
        run(folder, pull_command, f"path:{folder / 'whole'}", "--name", family, "--family", family)
    write_pairs(folder / "pairs.csv")
    done = run(folder, align_command, *TOWERS, "--data", str(folder / "pairs.csv"), "--name", "shop", *QUICK)
    assert "shop-image:1\nshop-text:1" in done.output
    return folder


def write_pairs(path: Path) -> None:
    """96 squares of a colour with some noise, each with a caption that names it."""
    dice = np.random.default_rng(3)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "text"])
        for number in range(96):
            name = list(COLOURS)[number % len(COLOURS)]
            pixels = np.array(COLOURS[name]) + dice.integers(-30, 30, (24, 24, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path.parent / f"{number}.png")
            rows.writerow([f"{number}.png", f"a {name} square"])


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


def opened(home: Path) -> Catalogue:
    return Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(home)}))


def state_of(home: Path, name: str) -> Mapping[str, torch.Tensor]:
    from headstock.backbone.restore import restore
    from headstock.plugin_host import open_host

    with opened(home) as catalogue:
        return restore(catalogue, open_host(), catalogue.version(Reference(name)).subject, name).module.state_dict()


def space_of(catalogue: Catalogue, name: str) -> Any:
    return catalogue.artefact(catalogue.version(Reference(name)).subject).identity["architecture"]["space"]


# ------------------------------------------------------------------------------------------------ what is learned
def test_pairs_find_each_other_better_than_before(home: Path) -> None:
    """Of held-out images, and with the interval of the paired gain above zero."""
    with opened(home) as catalogue:
        artefact = catalogue.artefact(catalogue.version(Reference("shop-image")).subject)
        report = catalogue.store.read_json(artefact.files["report"])
    gain = report["retrieval"]["gain"]
    assert gain["low"] > 0
    assert gain["verdict"] == "positive"
    assert report["retrieval"]["image_to_text"]["1"]["after"]["value"] > 0.8
    assert "recall at 5" in run(home, report_command, "shop-text").output


def test_only_the_projection_of_a_tower_moves(home: Path) -> None:
    """What lies below it stays frozen, so the pooled features stay what the cache has of them."""
    states = [state_of(home, name) for name in ("clip-vision", "shop-image")]
    moved = [name for name, tensor in states[0].items() if not torch.equal(tensor, states[1][name])]
    assert moved == ["clip.visual_projection.weight"]


def test_both_towers_enter_with_certificate_and_lineage(home: Path) -> None:
    with opened(home) as catalogue:
        for name, parent in (("shop-image", "clip-vision"), ("shop-text", "clip-text")):
            digest = catalogue.version(Reference(name)).subject
            certificate = catalogue.certificate(digest)
            assert certificate is not None
            assert certificate.shared
            edges = {(edge.relation, edge.parent) for edge in catalogue.edges(child=digest)}
            assert ("finetuned_from", catalogue.version(Reference(parent)).subject) in edges
            assert {"trained_on", "trained_on_outputs_of"} <= {relation for relation, _ in edges}


# ------------------------------------------------------------------------------------------------ towers that learn
LIVE = (*TOWERS, "--last-n", "1", "--epochs", "8", "--lr", "1e-2", "--backbone-lr", "1e-2", "--patience", "0")
LAST = {
    "image": "clip.vision_model.post_layernorm.",
    "text": "clip.text_model.final_layer_norm.",
}


@pytest.fixture(scope="module")
def deep(home: Path) -> Mapping[str, Any]:
    """The report of towers `deep-image` and `deep-text`, whose last layer groups have learned too."""
    made = run(home, align_command, *LIVE, "--data", str(home / "pairs.csv"), "--name", "deep", "--format", "json")
    report: Mapping[str, Any] = json.loads(made.stdout)
    return report


def test_the_last_layer_groups_learn_beside_the_projections_and_what_is_below_stays(
    home: Path, deep: Mapping[str, Any]
) -> None:
    assert deep["strategy"] == "align: both projections, of the towers image.last, text.last"
    assert {tuple(epoch["live"]) for epoch in deep["history"]} == {("image.last", "text.last")}
    assert deep["history"][-1]["loss"] < deep["history"][0]["loss"]
    for role, family in (("image", "clip-vision"), ("text", "clip-text")):
        before, after = (state_of(home, name) for name in (family, f"deep-{role}"))
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        projection = f"clip.{'visual' if role == 'image' else 'text'}_projection.weight"
        assert moved == {f"{LAST[role]}weight", f"{LAST[role]}bias", projection}
    with opened(home) as catalogue:
        digests = {catalogue.version(Reference(f"{name}-image")).subject for name in ("shop", "deep")}
        assert len({*digests, catalogue.version(Reference("clip-vision")).subject}) == 3
        assert space_of(catalogue, "deep-image") == space_of(catalogue, "deep-text")
        made = catalogue.edges(child=catalogue.version(Reference("deep-image")).subject)
    # So much of both is one stem for a server.
    (note,) = [edge.note for edge in made if edge.relation == "finetuned_from"]
    assert note == "the parent's own weights up to layer group 'layer.1'"


def test_the_recall_after_is_that_of_the_towers_that_were_published(home: Path, deep: Mapping[str, Any]) -> None:
    """Their own graphs, each half through its tower, find as many of the held-out pairs as the report says."""
    from headstock.data.dataset import read_inputs
    from headstock.data.split import split_rows
    from headstock.data.table import Table
    from headstock.finetune import Recipe, read_table
    from headstock.finetune.features import FeatureExtractor
    from headstock.servable import load_backbone

    table: Table = read_table(home / "pairs.csv")
    with opened(home) as catalogue:
        files = catalogue.artefact(catalogue.version(Reference("deep-image")).subject).files
        recipe = Recipe.from_json(catalogue.store.read_json(files["recipe"]))
        sides = []
        for role in ("image", "text"):
            inputs = read_inputs(table, recipe.data.columns, (role,))
            backbone = load_backbone(catalogue, catalogue.version(Reference(f"deep-{role}")).subject)
            found = FeatureExtractor(backbone, "embedding", None).features(inputs, lambda done, total: None)
            sides.append(np.asarray(found.values))
            if role == "image":
                rows = list(split_rows(recipe.split, table, inputs.samples, None).validation)
    texts = np.unique(np.array(table.columns["text"]), return_inverse=True)[1]
    targets = Targets(np.stack([np.arange(len(texts)), texts], axis=1)[rows])
    hits = found_within(np.concatenate(sides, axis=1)[rows], targets, 1, False)
    assert deep["retrieval"]["image_to_text"]["1"]["after"]["value"] == pytest.approx(hits.mean())


def test_an_interrupted_alignment_of_live_towers_ends_with_the_same_towers(
    home: Path, deep: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = RunFolder.write_checkpoint

    def stop(folder: RunFolder, data: bytes) -> None:
        write(folder, data)
        state = checkpoint.load(data)
        if state is not None and len(state.history) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write_checkpoint", stop)
        fault(home, align_command, *LIVE, "--data", str(home / "pairs.csv"), "--name", "deeper")
    told = run(home, align_command, *LIVE, "--data", str(home / "pairs.csv"), "--name", "deeper").stderr
    assert "after epoch 3 of at most 8" in told
    with opened(home) as catalogue:
        for role in ("image", "text"):
            first, second = (catalogue.version(Reference(f"{name}-{role}")) for name in ("deep", "deeper"))
            assert first.subject == second.subject


def test_more_layer_groups_than_a_tower_has_are_told_with_their_names(home: Path) -> None:
    error = fault(home, align_command, *TOWERS, "--last-n", "5", "--data", str(home / "pairs.csv"), "--name", "x")
    assert isinstance(error, InvalidInput)
    assert "the 4 of the image tower: embeddings, layer.0, layer.1, last" in error.message
    assert error.fix == "--last-n 4"
    idle = fault(home, align_command, *TOWERS, "--backbone-lr", "1", "--data", str(home / "pairs.csv"), "--name", "x")
    assert isinstance(idle, InvalidInput)
    assert idle.fix == "--last-n 1"


# ------------------------------------------------------------------------------------------------ recipes
def test_the_printed_command_makes_the_same_towers_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Report and card of either tower print it, and it makes both."""
    monkeypatch.chdir(home)
    for command, name in ((card_command, "shop-image"), (report_command, "shop-text")):
        (words,) = re.findall(r"^headstock align (.*)$", run(home, command, name).stdout, re.MULTILINE)
        assert words == f"--recipe {name}:1 --data pairs.csv --name shop-again"
    run(home, align_command, *shlex.split(words))
    with opened(home) as catalogue:
        for role in ("image", "text"):
            first, again = (catalogue.version(Reference(f"{one}-{role}")) for one in ("shop", "shop-again"))
            assert first.subject == again.subject


def test_a_recipe_decides_everything_but_data_and_name(home: Path) -> None:
    again = ("--recipe", "shop-image:1", "--data", str(home / "pairs.csv"), "--name", "x")
    error = fault(home, align_command, *again, "--epochs", "3")
    assert isinstance(error, InvalidInput)
    assert "--epochs is decided by the recipe 'shop-image:1'" in error.message
    fewer = home / "fewer.csv"
    fewer.write_text("".join((home / "pairs.csv").read_text().splitlines(keepends=True)[:60]))
    other = fault(home, align_command, "--recipe", "shop-image:1", "--data", str(fewer), "--name", "x")
    assert isinstance(other, FailedPrecondition)
    assert "is not the data of the recipe" in other.message


def test_recipes_of_other_commands_are_refused_with_the_command_that_takes_them(home: Path) -> None:
    pictures = ("--data", str(home / "pairs.csv"), "--name", "studied")
    run(home, continue_command, "--backbone", "clip-vision", *pictures, "--epochs", "1", "--strategy", "last-1")
    error = fault(home, align_command, "--recipe", "studied:1", *pictures)
    assert isinstance(error, InvalidInput)
    assert error.fix == "headstock continue --recipe"


def test_the_recipe_of_an_alignment_is_validated(home: Path) -> None:
    """With its pairs, and with layer groups of both towers; another table, or a group that neither has, is told."""
    validate = recipe_command.commands["validate"]
    assert "align on clip-vision" in run(home, validate, "shop-text:1", "--data", str(home / "pairs.csv")).output
    written = run(home, show_command, "shop-image:1", "--recipe").stdout
    assert 'text_name = "clip-text"' in written
    for changes, words in (
        ({"live = []": 'live = ["text.lost"]', "backbone_rate = 0.0": "backbone_rate = 0.1"}, "'text.lost'"),
        ({'text_backbone = "sha256:': 'text_backbone = "sha256:0'}, "which the recipe calls 'clip-text'"),
    ):
        changed = written
        for old, new in changes.items():
            assert old in changed
            changed = changed.replace(old, new)
        (home / "changed.toml").write_text(changed)
        assert words in str(fault(home, validate, str(home / "changed.toml")))
    (home / "two.csv").write_text("image,text\n0.png,a\n1.png,b\n")
    other = fault(home, validate, "shop-image:1", "--data", str(home / "two.csv"))
    assert isinstance(other, FailedPrecondition)
    assert "'two.csv'" in other.message


# ------------------------------------------------------------------------------------------------ the gate
def test_each_tower_keeps_what_the_held_out_pairs_said_of_it(home: Path) -> None:
    """It is what `promote` asks for, of the tower and of all that stands on it."""
    with opened(home) as catalogue:
        for name in ("shop-image", "shop-text"):
            said = catalogue.evidence(catalogue.version(Reference(name)).subject)
            (verdict,) = (one for one in said if one.field == PROBE)
            assert (verdict.value, verdict.source, verdict.locator) == ("positive", "align", "pairs.csv")
            assert "held-out pairs" in verdict.raw
    assert run(home, promote_command, "shop-image").exit_code == 0


# ------------------------------------------------------------------------------------------------ the space
def test_aligned_towers_share_a_space_of_their_own(home: Path) -> None:
    """They compare with each other, so class names make a classifier; with an old tower they do not."""
    with opened(home) as catalogue:
        image, text, old = (space_of(catalogue, name) for name in ("shop-image", "shop-text", "clip-text"))
    assert image == text
    assert image["digest"] != old["digest"]
    classes = [word for name in COLOURS for word in ("--class", f"{name} square")]
    template = ("--template", "a {}")
    made = run(
        home, zero_shot_command, "--backbone", "shop-image", "--text-backbone", "shop-text", *classes, *template,
        "--name", "colours",
    )  # fmt: skip
    assert "colours:1" in made.output
    mixed = ("--backbone", "shop-image", "--text-backbone", "clip-text")
    error = fault(home, zero_shot_command, *mixed, *classes, "--name", "mixed")
    assert isinstance(error, DigestMismatch)
    assert isinstance(
        fault(home, align_command, *mixed, "--data", str(home / "pairs.csv"), "--name", "x"), DigestMismatch
    )


def test_a_tower_that_was_tuned_by_itself_compares_with_no_other(home: Path) -> None:
    """Its embeddings have moved, so its old partner's space is not its own any more."""
    backbone = ("--backbone", "clip-vision", "--data", str(home / "pairs.csv"), "--name", "alone")
    run(home, continue_command, *backbone, "--epochs", "1", "--backbone-lr", "1e-3", "--strategy", "last-1")
    with opened(home) as catalogue:
        alone, old = space_of(catalogue, "alone"), space_of(catalogue, "clip-vision")
    assert alone["digest"] != old["digest"]
    assert alone["width"] == old["width"]
    towers = ("--backbone", "alone", "--text-backbone", "clip-text", "--class", "cat", "--class", "dog")
    error = fault(home, zero_shot_command, *towers, "--name", "wrong")
    assert isinstance(error, DigestMismatch)
    assert "their embedding spaces are" in str(error)
    run(home, vectors_command, "--backbone", "alone", "--name", "pictures-of-alone")


# ------------------------------------------------------------------------------------------------ the loss
def task(scale: float = 0.0) -> PairTask:
    return PairTask(Projections(torch.eye(2), torch.eye(2), scale))


def test_the_loss_is_the_mean_cross_entropy_of_both_ways() -> None:
    """Two orthogonal pairs at scale 1: each row and each column is told with probability e / (e + 1)."""
    head = task().build(4, Targets(np.zeros((2, 2), np.int64)), {})
    features = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]])
    apart = torch.tensor([[0, 0], [1, 1]])
    expected = float(np.log(1 + np.exp(-1)))
    assert float(task().loss(head, Batch(features, apart)).detach()) == pytest.approx(expected, abs=1e-6)


def test_pairs_with_the_same_text_are_no_negatives_of_each_other() -> None:
    head = task().build(4, Targets(np.zeros((2, 2), np.int64)), {})
    features = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]])
    assert float(task().loss(head, Batch(features, torch.tensor([[0, 0], [1, 0]]))).detach()) == 0.0


def test_the_scale_stays_below_a_hundred() -> None:
    head = task(9.0).build(4, Targets(np.zeros((2, 2), np.int64)), {})
    assert isinstance(head, Pairing)
    assert head.projections().logit_scale == pytest.approx(np.log(100), abs=1e-3)


def test_vectors_that_are_all_equal_find_nothing() -> None:
    """Ties count against us; with the other half's number a neighbour is as good."""
    outputs = np.ones((3, 4), np.float32)
    assert not found_within(outputs, Targets(np.array([[0, 0], [1, 1], [2, 2]])), 1, False).any()
    assert found_within(outputs, Targets(np.array([[0, 0], [1, 0], [2, 0]])), 1, False).all()


def test_towers_are_refused_that_are_none(home: Path) -> None:
    data = ("--data", str(home / "pairs.csv"), "--name", "x")
    swapped = fault(home, align_command, "--backbone", "clip-text", "--text-backbone", "clip-vision", *data)
    assert isinstance(swapped, InvalidInput)


def test_the_same_run_makes_the_same_towers(home: Path) -> None:
    """Equal pairs, options and seed: the second run adds no version."""
    run(home, align_command, *TOWERS, "--data", str(home / "pairs.csv"), "--name", "shop", *QUICK)
    with opened(home) as catalogue:
        for name in ("shop-image", "shop-text"):
            assert [version.number for version in catalogue.versions(name)] == [1]
