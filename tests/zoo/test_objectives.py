"""Backbones that go on learning without labels: what is hidden, what comes of it, and how it enters the catalogue."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from headstock.backbone.restore import restore
from headstock.catalogue import Catalogue
from headstock.checkpoint import read_json
from headstock.cli.card import command as card_command
from headstock.cli.continue_backbone import command as continue_command
from headstock.cli.main import cli
from headstock.cli.recipe import command as recipe_command
from headstock.cli.report import command as report_command
from headstock.errors import AlreadyExists, FailedPrecondition, InvalidInput, NotFound, Unsupported
from headstock.finetune import Observer, Options, Recipe, Table, fine_tune, plan_recipe, read_table
from headstock.finetune.recipe import ComputeChoice
from headstock.hookspecs import Batch, Objective, SourceFiles, Studied
from headstock.names import Reference
from headstock.objectives import Continued, Pursuit, continue_backbone, plan_objective
from headstock.objectives.prepare import prepare
from headstock.plugin_host import open_host
from headstock.preprocess import open_preprocessor
from headstock.records import Version
from headstock.servable import load_backbone
from headstock.settings import Settings
from headstock.testing.tiny import make_tiny_bert
from headstock.testing.tiny_text import make_tiny_distilbert, make_tiny_gpt, make_tiny_roberta
from headstock_text.objectives.masked import MaskedLanguage
from headstock_text.objectives.passages import cut

OPENINGS = (
    "where is my order",
    "please refund the broken lamp",
    "thanks for the great service",
    "the invoice for march is wrong",
    "how do i change my password",
)
QUICK = Pursuit(epochs=6, batch_size=16, backbone_rate=1e-2, learning_rate=1e-2)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 lines in which the opening tells the rest, so that hidden words can be guessed."""
    dice = random.Random(4)
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    lines = [f"{dice.choice(OPENINGS)} {dice.choice('abcdef')}{n}" for n in range(200)]
    path.write_text("\n".join(lines) + "\n\n")
    return path


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Table:
    path = tmp_path_factory.mktemp("labelled") / "labelled.csv"
    kinds = [f"{opening} {n},{number % 2}" for n in range(8) for number, opening in enumerate(OPENINGS)]
    path.write_text("text,label\n" + "\n".join(kinds) + "\n")
    return read_table(path)


@pytest.fixture(scope="module")
def grown(
    tiny_home_master: Path, corpus: Path, labelled: Table, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Catalogue, Continued]]:
    """A catalogue with backbone `mine`, which learned the corpus; tests add to it and change nothing."""
    home = Path(shutil.copytree(tiny_home_master, tmp_path_factory.mktemp("grown") / "home"))
    with Catalogue.open(Settings.from_environment({**os.environ, "HEADSTOCK_HOME": str(home)})) as catalogue:
        yield catalogue, learn(catalogue, corpus, "mine", probe=labelled)


def planned(catalogue: Catalogue, corpus: Path, asked: Pursuit = QUICK, backbone: str = "tiny") -> Recipe:
    return plan_objective(catalogue, open_host(catalogue.settings), read_table(corpus), Reference(backbone), asked)


def learn(catalogue: Catalogue, corpus: Path, name: str, asked: Pursuit = QUICK, **more: Any) -> Continued:
    recipe = planned(catalogue, corpus, asked)
    return continue_backbone(catalogue, open_host(catalogue.settings), recipe, read_table(corpus), name, **more)


def studied(catalogue: Catalogue, name: str = "tiny") -> tuple[Objective, Studied]:
    host, version = open_host(catalogue.settings), catalogue.version(Reference(name))
    restored = restore(catalogue, host, version.subject, name)
    reader = load_backbone(catalogue, version.subject).open_preprocessor()
    assert restored.family is not None
    return host.objective("mlm"), Studied(restored.family, restored.module, restored.identity.tap("tokens"), reader)


# ------------------------------------------------------------------------------------------------ what is learned
def test_hidden_words_of_unseen_texts_are_guessed_better(grown: tuple[Catalogue, Continued]) -> None:
    """The held-out loss falls by more than its interval, and below what the head alone reaches in as many epochs."""
    found = grown[1].report["held_out"]
    assert found["drop"]["low"] > 0
    assert found["gain"]["low"] > 0.3
    gain = found["head_alone"]["loss"]["value"] - found["after"]["loss"]["value"]
    assert found["gain"]["value"] == pytest.approx(gain)
    assert found["after"]["masked_accuracy"]["value"] > found["before"]["masked_accuracy"]["value"]


def test_the_new_backbone_enters_as_any(grown: tuple[Catalogue, Continued], corpus: Path) -> None:
    """With a certificate, parity, lineage, recipe and report; the old one stays."""
    catalogue, made = grown
    version = made.version
    parent = catalogue.version(Reference("tiny"))
    assert version.kind == "backbone"
    assert version.subject != parent.subject
    certificate = catalogue.certificate(version.subject)
    assert certificate is not None
    assert certificate.shared
    assert max(tap["max_error"] for tap in certificate.detail["parity"].values()) < 1e-4
    edges = {(edge.relation, edge.parent) for edge in catalogue.edges(child=version.subject)}
    assert ("finetuned_from", parent.subject) in edges
    assert {relation for relation, _ in edges} == {"finetuned_from", "trained_on", "built_by_plugin"}
    files = catalogue.artefact(version.subject).files
    assert Recipe.from_json(catalogue.store.read_json(files["recipe"])) == planned(catalogue, corpus)
    assert catalogue.store.read_json(files["report"])["held_out"] == made.report["held_out"]
    assert not catalogue.verify().problems


def test_heads_are_grown_on_it_and_it_goes_on_learning(
    grown: tuple[Catalogue, Continued], corpus: Path, labelled: Table
) -> None:
    """What a run keeps of its parent is neither its recipe nor its report."""
    catalogue, made = grown
    host = open_host(catalogue.settings)
    recipe = plan_recipe(
        catalogue, host, labelled, Reference("mine"), "text-classification", Options(epochs=2, patience=0)
    )
    assert recipe.backbone.digest == made.version.subject
    model = fine_tune(catalogue, host, recipe, labelled, "on-mine").version
    assert catalogue.artefact(model.subject).identity["backbone"] == made.version.subject
    table = read_table(corpus)
    again = plan_objective(catalogue, host, table, Reference("mine"), Pursuit(epochs=1, strategy="last-1"))
    child = continue_backbone(catalogue, host, again, table, "mine")
    assert child.version.number == 2
    files = catalogue.artefact(child.version.subject).files
    assert catalogue.store.read_json(files["report"])["backbone"]["digest"] == made.version.subject


def test_a_probe_compares_both_backbones_on_the_same_rows(grown: tuple[Catalogue, Continued], labelled: Table) -> None:
    found = grown[1].report["probe"]
    assert found["rows"] == len(labelled)
    for kind in ("linear", "neighbours"):
        gain = found[kind]["after"]["value"] - found[kind]["before"]["value"]
        assert found[kind]["gain"]["value"] == pytest.approx(gain)
        assert found[kind]["gain"]["low"] <= gain <= found[kind]["gain"]["high"]
    assert grown[1].version.details["probe"]["verdict"] in ("positive", "none", "negative")


# ------------------------------------------------------------------------------------------------ the same again
class Killed(BaseException):
    """What ends a run in its midst."""


class Assassin(Observer):
    """Ends the run after so many epochs."""

    def __init__(self, epochs: int) -> None:
        self._left = epochs

    def epoch(self, figures: Mapping[str, Any]) -> None:
        self._left -= 1
        if not self._left:
            raise Killed


@pytest.mark.parametrize("epochs", [1, 4])
def test_an_interrupted_run_ends_with_the_same_backbone(
    grown: tuple[Catalogue, Continued], tiny_catalogue: Catalogue, corpus: Path, epochs: int
) -> None:
    """Killed after the head's phase, and within the backbone's: views are drawn from the epoch, not from the past."""
    with pytest.raises(Killed):
        learn(tiny_catalogue, corpus, "mine", observer=Assassin(epochs))
    made = learn(tiny_catalogue, corpus, "mine")
    assert made.version.subject == grown[1].version.subject
    assert made.report["held_out"] == grown[1].report["held_out"]


# ------------------------------------------------------------------------------------------------ what is hidden
def test_fifteen_percent_are_asked_and_most_of_them_hidden(tiny_catalogue: Catalogue) -> None:
    """80 % become the mask, 10 % another token, 10 % stay; special tokens are never asked for."""
    objective, subject = studied(tiny_catalogue)
    rows = subject.preprocessor.rows(["thanks for the great service and a good price where is my order"] * 2000)
    view = objective.view(subject, rows, objective.default_options(), np.random.default_rng(0))
    before = np.stack([row.tensors["input_ids"] for row in rows])
    after, targets = np.stack([row.tensors["input_ids"] for row in view.rows]), np.stack(view.targets)
    asked = targets >= 0
    assert not asked[:, [0, -1]].any()
    assert asked[:, 1:-1].mean() == pytest.approx(0.15, abs=0.02)
    assert (targets[asked] == before[asked]).all()
    assert (after[~asked] == before[~asked]).all()
    mask = subject.preprocessor.special_tokens["[MASK]"]  # type: ignore[attr-defined]
    assert (after[asked] == mask).mean() == pytest.approx(0.8, abs=0.02)
    assert ((after[asked] != mask) & (after[asked] != before[asked])).mean() == pytest.approx(0.1, abs=0.02)
    assert asked.any(axis=1).all()


def test_views_are_those_of_their_numbers_and_keep_the_rows(tiny_catalogue: Catalogue) -> None:
    objective, subject = studied(tiny_catalogue)
    rows = subject.preprocessor.rows(list(OPENINGS))
    before = [row.tensors["input_ids"].copy() for row in rows]
    views = [
        objective.view(subject, rows, objective.default_options(), np.random.default_rng(seed)) for seed in (1, 1, 2)
    ]
    drawn = [np.concatenate([row.tensors["input_ids"] for row in view.rows]).tolist() for view in views]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all((row.tensors["input_ids"] == old).all() for row, old in zip(rows, before, strict=True))


def test_a_right_guess_costs_little_and_a_wrong_one_much(tiny_catalogue: Catalogue) -> None:
    """The terms of a row are sums over what it was asked, by cross-entropy over the whole vocabulary."""
    objective, subject = studied(tiny_catalogue)
    width = subject.tap.width

    class Fixed(torch.nn.Module):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return 10 * torch.nn.functional.one_hot(features[:, 0].long(), 7).float()

    features = torch.zeros(2, 3, width)
    features[0, 1, 0], features[1, 2, 0] = 4, 5
    targets = torch.tensor([[-1, 4, -1], [0, -1, 3]])
    terms = objective.terms(Fixed(), Batch(features, targets), objective.default_options())
    right, wrong = float(np.log(1 + 6 * np.exp(-10))), float(10 + np.log(1 + 6 * np.exp(-10)))
    assert terms.losses.tolist() == pytest.approx([right, right + wrong], abs=1e-4)
    assert terms.hits.tolist() == [1, 1]
    assert terms.counts.tolist() == [1, 2]


@pytest.mark.parametrize(
    "family, make, mask",
    [
        ("bert", make_tiny_bert, "[MASK]"),
        ("roberta", make_tiny_roberta, "<mask>"),
        ("distilbert", make_tiny_distilbert, "[MASK]"),
    ],
)
def test_each_encoder_knows_its_mask_and_lends_its_table(
    family: str, make: Callable[[Path], Path], mask: str, tmp_path: Path
) -> None:
    """The guesser tells tokens apart by the backbone's own embeddings, and does not own them."""
    loaded = open_host().family(family)
    files = SourceFiles(make(tmp_path / family), read_json(tmp_path / family / "config.json"), family)
    module, spec = loaded.load(files), loaded.preprocess(files)
    reader = open_preprocessor(spec, {role: loaded.files(files)[role] for role in spec.files})
    tap = next(tap for tap in loaded.taps(module) if tap.name == "tokens")
    subject, objective = Studied(loaded, module, tap, reader), MaskedLanguage()
    options = {**objective.default_options(), "hidden": 1.0, "swapped": 0.0, "masked": 0.9}
    head = objective.build(subject, options)
    view = objective.view(subject, reader.rows([OPENINGS[0]]), options, np.random.default_rng(0))
    hidden = view.rows[0].tensors["input_ids"][view.targets[0] >= 0]
    assert set(hidden.tolist()) == {reader.special_tokens[mask]}  # type: ignore[attr-defined]
    tokens = spec.options["vocab_size"]
    assert head(torch.zeros(3, tap.width)).shape == (3, tokens)
    assert tokens * tap.width not in [parameter.numel() for parameter in head.parameters()]


def test_long_texts_are_learned_from_as_a_whole(tiny_catalogue: Catalogue, tmp_path: Path) -> None:
    """Every word stands in exactly one passage, and no passage is cut."""
    words = [f"{opening} {n}" for n in range(60) for opening in OPENINGS]
    path = tmp_path / "long.jsonl"
    texts = [" ".join(words), OPENINGS[0]]
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    host = open_host(tiny_catalogue.settings)
    table = read_table(path)
    recipe = plan_objective(tiny_catalogue, host, table, Reference("tiny"), QUICK)
    prepared = prepare(tiny_catalogue, host, recipe, table, "mine", lambda line: None)
    reader = prepared.backbone.open_preprocessor()
    passages = cut(reader, prepared.inputs)
    (found,) = passages.read(range(len(passages)))
    assert " ".join(found[:-1]).split() == texts[0].split()
    assert list(passages.owners) == [0] * (len(found) - 1) + [1]
    assert len(found) > 20
    assert not any(row.truncated for row in reader.rows(found))


def test_a_text_file_has_a_row_per_line(corpus: Path, tmp_path: Path) -> None:
    """Empty lines are none, and each row knows its line."""
    path = tmp_path / "some.txt"
    path.write_text("first line\n\n  second, after an empty one  \n")
    table = read_table(path)
    assert table.columns == {"text": ["first line", "second, after an empty one"]}
    assert list(table.places) == [1, 3]
    assert len(read_table(corpus)) == 200


# ------------------------------------------------------------------------------------------------ refusals
def test_what_leaves_the_backbone_as_it_is_is_refused(tiny_catalogue: Catalogue, corpus: Path) -> None:
    for strategy in ("feature-extraction", "lora"):
        with pytest.raises(InvalidInput, match="leaves the backbone as it is"):
            planned(tiny_catalogue, corpus, Pursuit(strategy=strategy))


def test_an_objective_for_something_else_is_refused(tiny_catalogue: Catalogue, corpus: Path) -> None:
    with pytest.raises(InvalidInput, match="is for image, but backbone 'tiny' reads text"):
        planned(tiny_catalogue, corpus, Pursuit(objective="simclr"))


def test_a_network_that_reads_one_way_is_refused(empty_catalogue: Catalogue, corpus: Path, tmp_path: Path) -> None:
    """GPT never sees what follows, so it cannot be asked for a word in the middle."""
    from headstock.backbone.pull import pull

    host = open_host(empty_catalogue.settings)
    pull(empty_catalogue, host, f"path:{make_tiny_gpt(tmp_path / 'gpt')}", "gpt")
    recipe = planned(empty_catalogue, corpus, backbone="gpt")
    with pytest.raises(Unsupported, match="does not read both ways"):
        continue_backbone(empty_catalogue, host, recipe, read_table(corpus), "mine")


def test_a_section_that_says_nothing_to_an_objective_is_refused(tiny_catalogue: Catalogue, corpus: Path) -> None:
    """It would be published with the backbone although nothing came of it."""
    choice = ComputeChoice(device="cpu", precision="bf16", compiler="", processes=1)
    recipe = planned(tiny_catalogue, corpus).model_copy(update={"compute": choice})
    with pytest.raises(InvalidInput, match=r"both an objective and \[compute\]"):
        continue_backbone(tiny_catalogue, open_host(tiny_catalogue.settings), recipe, read_table(corpus), "mine")


def test_each_kind_of_recipe_is_refused_by_the_other_command(
    tiny_catalogue: Catalogue, corpus: Path, labelled: Table
) -> None:
    host = open_host(tiny_catalogue.settings)
    model = plan_recipe(tiny_catalogue, host, labelled, Reference("tiny"), "text-classification", Options())
    with pytest.raises(InvalidInput, match="it makes a backbone"):
        fine_tune(tiny_catalogue, host, planned(tiny_catalogue, corpus), read_table(corpus), "model")
    with pytest.raises(InvalidInput, match="it makes a model"):
        continue_backbone(tiny_catalogue, host, model, labelled, "mine")


def test_names_of_models_and_wrong_options_and_data_are_refused(
    grown: tuple[Catalogue, Continued], corpus: Path, labelled: Table
) -> None:
    catalogue, _ = grown
    host = open_host(catalogue.settings)
    recipe = plan_recipe(catalogue, host, labelled, Reference("tiny"), "text-prototype", Options())
    fine_tune(catalogue, host, recipe, labelled, "a-model")
    with pytest.raises(AlreadyExists, match="'a-model' is a model"):
        learn(catalogue, corpus, "a-model")
    with pytest.raises(InvalidInput, match="has no option 'mask'"):
        planned(catalogue, corpus, Pursuit(options={"mask": "0.2"}))
    wrong = planned(catalogue, corpus, Pursuit(options={"masked": "1.5"}))
    with pytest.raises(InvalidInput, match="are no shares"):
        continue_backbone(catalogue, host, wrong, read_table(corpus), "x")
    with pytest.raises(FailedPrecondition, match="is not the data of the recipe"):
        continue_backbone(catalogue, host, planned(catalogue, corpus), labelled, "x")


# ------------------------------------------------------------------------------------------------ command line
def test_the_command_makes_the_backbone_and_its_report(
    tiny_home: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`continue`, then `report`, `recipe validate` and the same recipe again, all by the command line."""
    env = {"HEADSTOCK_HOME": str(tiny_home)}
    options = ["--data", str(corpus), "--name", "mine", "--epochs", "2", "--backbone-lr", "1e-2", "--no-control"]
    made = CliRunner().invoke(continue_command, ["--backbone", "tiny", *options, "--format", "json"], env=env)
    assert made.exit_code == 0, (made.output, made.exception)
    report = json.loads(made.stdout)
    assert report["objective"] == {
        "name": "mlm",
        "options": {"masked": 0.15, "hidden": 0.8, "swapped": 0.1},
        "tap": "tokens",
    }
    page = CliRunner().invoke(report_command, ["mine"], env=env)
    assert "## Held out" in page.stdout
    assert "--control measures it" in page.stdout
    assert "head_alone" not in report["held_out"]
    printed = "--recipe mine:1 --data corpus.txt --name mine-again"
    assert f"headstock continue {printed}" in page.stdout
    assert f"headstock continue {printed}" in CliRunner().invoke(card_command, ["mine"], env=env).stdout
    monkeypatch.chdir(corpus.parent)
    repeated = CliRunner().invoke(continue_command, [*printed.split(), "--no-control"], env=env)
    assert repeated.exit_code == 0, (repeated.output, repeated.exception)
    with Catalogue.open(Settings.from_environment(env)) as catalogue:
        first, second = (catalogue.version(Reference(name)) for name in ("mine", "mine-again"))
    assert first.subject == second.subject
    valid = CliRunner().invoke(recipe_command, ["validate", "mine"], env=env)
    assert "mlm on tiny by lp-ft" in valid.stdout
    contradicting = ["--recipe", "mine", "--data", str(corpus), "--name", "mine", "--epochs", "9"]
    again = CliRunner().invoke(continue_command, contradicting, env=env)
    assert isinstance(again.exception, InvalidInput)
    assert "--epochs is decided by the recipe" in str(again.exception)


def test_recipes_without_an_objective_keep_their_digest() -> None:
    """The section is no part of a recipe that leaves it out, so runs and models of before keep their names."""
    value = {
        "format": 1,
        "seed": 0,
        "backbone": {"name": "b", "digest": "sha256:" + "0" * 64},
        "head": {"type": "text-classification", "tap": "mean", "options": {}},
        "data": {"name": "d.csv", "sha256": "sha256:" + "1" * 64, "columns": {"text": "text", "label": "label"}},
        "split": {"kind": "random", "fraction": 0.2, "stratified": True, "seed": 0},
        "strategy": {
            "name": "feature-extraction",
            "phases": [
                {
                    "name": "head", "live": [], "epochs": 1, "learning_rate": 0.1, "backbone_rate": 0.0, "decay": 1.0,
                    "schedule": "cosine",
                }
            ],
            "initial": "pretrained", "l2_sp": 0.0, "interpolation": 1.0, "lora_rank": 0, "lora_alpha": 0,
        },
        "optimizer": {
            "name": "adamw", "weight_decay": 0.0, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "batch_size": 8,
        },
        "stopping": {"patience": 0, "min_delta": 0.0},
        "features": {"cache": True},
    }  # fmt: skip
    plain = Recipe.from_json(value)
    assert "objective" not in plain.to_json()
    assert plain.digest == "sha256:3b7f4c60d3e2526a5927554e17a44476ebd1a82fdbb5bd670420d3409b55161f"
    aimed = Recipe.from_json({**value, "objective": {"name": "mlm", "options": {"masked": 0.15}}})
    assert aimed.digest != plain.digest


def test_a_version_says_what_it_was_made_of(grown: tuple[Catalogue, Continued]) -> None:
    version: Version = grown[1].version
    assert version.details["source"] == "mlm on corpus.txt, from tiny"
    assert version.details["held_out_loss"]["after"] < version.details["held_out_loss"]["before"]


# ------------------------------------------------------------------------------------------------ the gate


def test_what_a_probe_found_worse_is_not_promoted_nor_what_descends_from_it(
    tiny_home: Path, corpus: Path, tmp_path: Path
) -> None:
    """A backbone that too large steps have spoilt is refused, and so are a model on it and a backbone that went on from
    it, each until it is forced; its parent and a model trained from random weights pass. Running it again without a
    probe takes nothing back."""
    env = {"HEADSTOCK_HOME": str(tiny_home)}
    rows = [f"{opening} {n},{'odd' if n % 2 else 'even'}" for n in range(10, 40) for opening in OPENINGS]
    (tmp_path / "labelled.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    learn = ["--data", str(corpus), "--strategy", "full", "--epochs", "2", "--lr", "0.01", "--no-control"]
    spoil = ["continue", "--backbone", "tiny", "--name", "spoilt", *learn, "--backbone-lr", "0.1"]
    said = run(env, *spoil, "--probe", str(tmp_path / "labelled.csv"))
    assert "verdict          negative: it hurt" in said.stdout
    assert "Neither this backbone nor what stands on it is promoted" in run(env, "report", "spoilt").stdout
    run(env, *spoil)
    tune = ["fine-tune", "--head", "text-classification", "--data", str(tmp_path / "labelled.csv"), "--report", "none"]
    tune += ["--epochs", "1", "--backbone-epochs", "1", "--backbone", "spoilt"]
    for name, strategy in (("head", "feature-extraction"), ("anew", "scratch")):
        run(env, *tune, "--name", name, "--strategy", strategy)
    run(env, "continue", "--backbone", "spoilt", "--name", "further", *learn)
    for name in ("spoilt", "head", "further"):
        refused = run(env, "promote", name, passes=False).exception
        assert isinstance(refused, FailedPrecondition)
        assert f"'{name}:1' has negative transfer" in refused.message
        assert refused.message.endswith("150 rows")
        assert refused.fix == f"headstock promote {name}:1 --force --reason TEXT"
    run(env, "promote", "head", "--force", "--reason", "for a demo")
    run(env, "promote", "tiny")
    run(env, "promote", "anew")
    with Catalogue.open(Settings.from_environment(env)) as catalogue:
        reasons = {event.subject: event.detail["reason"] for event in catalogue.events() if event.action == "promote"}
    assert reasons["head:production"] == "forced past negative transfer: for a demo"
    # Known beforehand, so it is said before anything is trained.
    told = run(env, *tune, "--name", "late", "--promote", "production", passes=False).exception
    assert isinstance(told, FailedPrecondition)
    assert "no model on backbone 'spoilt' is promoted without force" in told.message
    assert isinstance(run(env, "show", "late", passes=False).exception, NotFound)


def run(env: Mapping[str, str], *arguments: str, passes: bool = True) -> Result:
    result = CliRunner().invoke(cli, list(arguments), env=env)
    assert (result.exit_code == 0) == passes, (result.output, result.exception)
    return result
