"""Merging an adapter: another backbone that answers alike, with the same terms and history, or nothing at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
from click.testing import CliRunner
from safetensors.numpy import save

from headstock.adapter import Pair, adapter_artefact, fold, target_weights
from headstock.adapter.adapted import AdaptedGraph
from headstock.backbone.parity import LIMIT
from headstock.backbone.restore import restore
from headstock.backbone.samples import samples_for
from headstock.catalogue import Catalogue
from headstock.cli.main import cli
from headstock.digest import Digest
from headstock.errors import FailedPrecondition, LicenceRefused
from headstock.graph import Graph
from headstock.licences.context import Context
from headstock.licences.decisions import conclude
from headstock.licences.gate import read_facts, verdict
from headstock.licences.policy import STANCES, Policy
from headstock.licences.prover import Prover
from headstock.licences.values import rank
from headstock.names import Reference
from headstock.plugin_host import open_host
from headstock.records import Edge, HeadIdentity, ModelIdentity, Publication, artefact_of
from headstock.report.gate import check_promotion
from headstock.report.read import read_report, reproduce_command
from headstock.report.sharing import siblings
from headstock.servable import load_model
from headstock.settings import Settings
from headstock.variant import Merged, merge_adapter

WIDTH, RANK = 16, 4
ADAPTED = Reference("adapted")
NEGATIVE = {"verdict": "negative", "gain": -0.2, "low": -0.3, "high": -0.1, "figure": "accuracy", "against": "TF-IDF"}
DATA = artefact_of("dataset", {"kind": "dataset", "name": "tickets.csv", "sha256": "0" * 64, "rows": 8})


def _publish_adapted(catalogue: Catalogue) -> None:
    """Model `adapted`: a head on the tiny BERT under an adapter large enough that nobody takes one for none."""
    generator = np.random.default_rng(0)

    def drawn(*shape: int) -> Any:
        return (generator.normal(size=shape) * 0.3).astype(np.float32)

    backbone = Digest(catalogue.newest("tiny").subject)
    with catalogue.writing("adapted"):
        module = restore(catalogue, open_host(), backbone, "tiny").module
        names = [n for n, _ in module.named_modules() if n.endswith(("self.query", "self.value", "output.dense"))]
        weights = target_weights(module, names)
        pairs = {n: Pair(drawn(w.shape[0], RANK), drawn(RANK, w.shape[1])) for n, w in weights.items()}
        adapter = adapter_artefact(catalogue, backbone, pairs, weights)
        blob = catalogue.store.put_bytes(save({"weight": drawn(WIDTH, 3), "bias": drawn(3)}))
        post = {"kind": "classification", "labels": ["a", "b", "c"]}
        identity = HeadIdentity("text-classification", backbone, "mean", "linear", blob, WIDTH, 3, post, adapter.digest)
        head = artefact_of("head", identity.to_json(), {"parameters": blob})
        report = {
            "strategy": "lora",
            "head_type": "text-classification",
            "data": {"name": "tickets.csv", "sha256": "0" * 64},
            "backbone": {"name": "tiny", "digest": backbone, "tap": "mean"},
            "validation": {"rows": "1" * 64},
        }
        files = {"report": catalogue.store.put_json(report)}
        model = artefact_of("model", ModelIdentity(backbone, head.digest, adapter.digest).to_json(), files)
        edges = [
            Edge(head.digest, "head_on", backbone),
            Edge(head.digest, "trained_on", DATA.digest),
            Edge(adapter.digest, "adapter_of", backbone),
            Edge(adapter.digest, "trained_on", DATA.digest),
        ]
        details = {
            "strategy": "lora",
            "head_type": "text-classification",
            "data_digest": "0" * 64,
            "tap": "mean",
            "transfer": NEGATIVE,
            "seconds": 9,
            "head": head.digest,
        }
        artefacts = [DATA, adapter, head, model]
        catalogue.publish(Publication("adapted", "model", model.digest, artefacts, edges, details=details))


@pytest.fixture(scope="module")
def adapted_home(tiny_home_master: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with `tiny` and `adapted`, to be copied."""
    home = Path(shutil.copytree(tiny_home_master, tmp_path_factory.mktemp("merge") / "home"))
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(home)})) as catalogue:
        _publish_adapted(catalogue)
    return home


@pytest.fixture
def catalogue(adapted_home: Path, tmp_path: Path) -> Iterator[Catalogue]:
    """A catalogue of the test's own, nothing merged yet."""
    home = shutil.copytree(adapted_home, tmp_path / "home")
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(home)})) as opened:
        yield opened


@pytest.fixture(scope="module")
def merged_home(adapted_home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Merged]:
    """A home where `adapted` is merged too, to be copied or only looked at, and what merging returned."""
    home = Path(shutil.copytree(adapted_home, tmp_path_factory.mktemp("merged") / "home"))
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(home)})) as catalogue:
        return home, merge_adapter(catalogue, open_host(), ADAPTED, "merged")


@pytest.fixture
def after(merged_home: tuple[Path, Merged], tmp_path: Path) -> Iterator[Catalogue]:
    """A catalogue of the test's own with `merged` in it."""
    home = shutil.copytree(merged_home[0], tmp_path / "after")
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(home)})) as opened:
        yield opened


def _identity(catalogue: Catalogue, name: str) -> ModelIdentity:
    return ModelIdentity.from_json(catalogue.artefact(catalogue.newest(name).subject).identity)


def _features(catalogue: Catalogue, name: str) -> list[Any]:
    """What the head of `name` reads for every sample row, by the graph that a server would run."""
    model = load_model(catalogue, catalogue.newest(name))
    graph = AdaptedGraph(model.adapter) if model.adapter else Graph(model.backbone.graph)
    preprocessor = model.backbone.open_preprocessor()
    rows = samples_for(preprocessor).ordinary
    return [graph.run(preprocessor.collate([row]), ["mean"])[0][0] for row in rows]


# ------------------------------------------------------------------------------------------- what it is
def test_the_merged_model_is_a_plain_one_with_the_same_head_on_a_backbone_of_its_own(after: Catalogue) -> None:
    old, new = (load_model(after, after.newest(name)) for name in ("adapted", "merged"))
    assert old.adapter is not None
    assert new.adapter is None
    assert new.backbone.digest != old.backbone.digest
    assert new.parameters == old.parameters
    rebound = {**asdict(old.head), "backbone": new.backbone.digest, "adapter": None}
    assert asdict(new.head) == rebound
    new.backbone.require_shared()


def test_it_computes_what_the_row_form_computes_and_not_what_the_plain_backbone_does(
    after: Catalogue, merged_home: tuple[Path, Merged]
) -> None:
    """Far nearer to the row form than the adapter is to none; and what was measured says so."""
    row_form, merged = (np.stack(_features(after, name)) for name in ("adapted", "merged"))
    model = load_model(after, after.newest("adapted"))
    preprocessor = model.backbone.open_preprocessor()
    plain = [
        Graph(model.backbone.graph).run(preprocessor.collate([row]), ["mean"])[0][0]
        for row in samples_for(preprocessor).ordinary
    ]
    assert np.abs(merged - row_form).max() <= 1e-5
    assert np.abs(np.stack(plain) - row_form).max() > 0.1
    found = merged_home[1].parity
    assert set(found) == {"answers", *(tap.name for tap in model.backbone.identity.taps)}
    assert all(parity.max_error <= LIMIT * max(1.0, parity.scale) for parity in found.values())
    assert found["mean"].max_error == pytest.approx(np.abs(merged - row_form).max(), rel=1, abs=1e-6)
    assert merged_home[1].version.details["agreement"] == {what: asdict(parity) for what, parity in found.items()}


@pytest.mark.parametrize("kind", ["Linear", "Conv1D"])
def test_folding_adds_the_change_to_the_weight_in_either_layout(kind: str) -> None:
    """Also in GPT-2's layer, which keeps [in, out]."""
    import torch
    from transformers.pytorch_utils import Conv1D

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(5, 3) if kind == "Linear" else Conv1D(3, 5))
    pair = Pair(torch.randn(5, 2).numpy(), torch.randn(2, 3).numpy())
    x = torch.randn(4, 5)
    with torch.no_grad():
        expected = module(x) + x @ torch.from_numpy(pair.a) @ torch.from_numpy(pair.b)
        fold(module, {"0": pair})
        torch.testing.assert_close(module(x), expected, atol=1e-5, rtol=0)


def test_the_merged_backbone_can_be_trained_further(after: Catalogue) -> None:
    """Its weights are stored, and they are those of its digest."""
    digest = _identity(after, "merged").backbone
    restored = restore(after, open_host(), digest, "merged")
    assert restored.identity.precision == "fp32"
    assert artefact_of("backbone", restored.identity.to_json()).digest == digest


def test_layers_below_the_adapter_are_shared_with_the_plain_backbone(after: Catalogue) -> None:
    """Here the embeddings: rows of both meet in one stem."""
    plain, merged = (load_model(after, after.newest(name)).backbone for name in ("adapted", "merged"))
    assert merged.stem is not None
    assert plain.stem is not None
    assert merged.stem.digest == plain.stem.digest
    assert merged.stem.depth == "embeddings"


# ------------------------------------------------------------------------------------------ what it came from
def test_lineage_names_both_that_were_merged_and_keeps_the_history_of_the_head(after: Catalogue) -> None:
    old, new = _identity(after, "adapted"), _identity(after, "merged")

    def edges(child: Digest) -> set[tuple[str, Digest]]:
        return {(edge.relation, edge.parent) for edge in after.edges(child=child)}

    assert edges(new.backbone) == {("merged_from", old.backbone), ("merged_from", old.adapter)}
    history = {("head_on", new.backbone), ("trained_on", DATA.digest), ("converted_from", old.head)}
    assert edges(new.head) == history
    assert edges(Digest(after.newest("merged").subject)) == {("merged_from", after.newest("adapted").subject)}


def test_a_verdict_on_transfer_is_not_lost_by_merging(after: Catalogue) -> None:
    """A model that may not be promoted unforced may not be promoted in another form either."""
    details = after.newest("merged").details
    assert details["strategy"] == "lora, adapter merged"
    assert details["merged"] == {"model": "adapted:1", "adapter": _identity(after, "adapted").adapter, "rank": RANK}
    with pytest.raises(FailedPrecondition, match="negative transfer"):
        check_promotion(after, after.newest("merged"))


def test_the_report_is_that_of_the_run_and_its_last_line_merges_again(after: Catalogue) -> None:
    """Beside other ways to train on those rows the merged model is none: nothing was trained."""
    version, report = read_report(after, "merged")
    assert report == read_report(after, "adapted")[1]
    assert [str(sibling) for sibling, _ in siblings(after, report)] == ["adapted:1"]
    assert reproduce_command(version, report) == (
        "headstock fine-tune --recipe merged:1 --data tickets.csv --name merged-again "
        "&& headstock variant merged-again --merge-adapter"
    )


@pytest.mark.parametrize("licence", ["MIT", "GPL-3.0-only", "CC-BY-NC-4.0", "CC-BY-ND-4.0", "CC-BY-SA-4.0"])
@pytest.mark.parametrize("about", ["backbone", "adapter", "head", "model", "data"])
def test_licences_allow_the_merged_model_no_more_than_the_adapted_one(
    after: Catalogue, licence: str, about: str
) -> None:
    """In every use and under every stance on heads, whatever is under that licence."""
    old = after.newest("adapted").subject
    parts = {"model": old, "data": DATA.digest, **asdict(_identity(after, "adapted"))}
    conclude(after, parts["backbone"], "MIT", "so that it is known")
    conclude(after, parts[about], licence, "decided for the test")
    facts, merged = read_facts(after), after.newest("merged").subject
    uses = product(("research", "commercial"), ("self", "public"), ("serve", "distribute"))
    for (purpose, audience, act), heads in product(uses, STANCES["heads"]):
        policy = Policy.from_mapping({"stances": {"heads": heads, "training_data": "inherit-all"}})
        prover = Prover(facts, Context(purpose=purpose, audience=audience, act=act), policy)  # type: ignore[arg-type]
        assert rank(prover.value(merged)) <= rank(prover.value(old)), (purpose, audience, act, heads)


def test_what_no_licence_lets_be_changed_is_not_merged(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter beside the weights of a no-derivatives backbone may be served where merged weights may not."""
    from headstock.variant import merge

    monkeypatch.setattr(merge, "restore", lambda *_: pytest.fail("something was made"))
    (catalogue.settings.home / "policy.toml").write_text(
        '[context]\npurpose = "commercial"\naudience = "public"\nact = "distribute"\n[stances]\nheads = "own"\n'
    )
    conclude(catalogue, catalogue.newest("tiny").subject, "CC-BY-ND-4.0", "decided for the test")
    assert verdict(catalogue, catalogue.newest("adapted").subject).value == "allow"
    with pytest.raises(LicenceRefused, match="merging the adapter of 'adapted' into 'merged' is refused"):
        merge_adapter(catalogue, open_host(), ADAPTED, "merged")
    assert catalogue.names() == ["adapted", "tiny"]


def test_merging_again_gives_the_same_version_and_its_plan_the_verdict_of_that(after: Catalogue) -> None:
    """Equal weights have equal digests; and nothing that passes the check is refused when it is done."""
    (after.settings.home / "policy.toml").write_text('[mode]\ndeny = "warn"\n[context]\npurpose = "commercial"\n')
    conclude(after, after.newest("tiny").subject, "CC-BY-NC-4.0", "decided for the test")
    said: list[str] = []
    made = merge_adapter(after, open_host(), ADAPTED, "merged", said.append)
    assert made.version == after.version(Reference("merged"))
    assert [version.number for version in after.versions("merged")] == [1]
    found = verdict(after, made.version.subject)
    assert found.value == "deny"
    assert f"the licence verdict is {found.value}: {found.reason}; " in said[0]


def test_the_card_calls_the_one_an_adapter_and_the_other_a_merge(after: Catalogue) -> None:
    """In the hub's words: a merged model holds an adapter's weights, and is none."""
    tiny = after.newest("tiny").subject
    source = artefact_of("source", {"kind": "source", "spec": "hf:org/tiny"})
    after.publish(Publication("tiny", "backbone", tiny, [source], [Edge(tiny, "finetuned_from", source.digest)]))
    environment = {"HEADSTOCK_HOME": str(after.settings.home)}
    for name, word in (("adapted", "adapter"), ("merged", "merge")):
        card = CliRunner().invoke(cli, ["card", name], env=environment).stdout
        assert f"base_model_relation: {word}" in card


# ------------------------------------------------------------------------------------------------ refusals
def test_only_a_model_with_an_adapter_can_be_merged(after: Catalogue) -> None:
    """The message says which it is, and what to type instead."""
    with pytest.raises(FailedPrecondition, match="tiny:1 is a backbone") as refused:
        merge_adapter(after, open_host(), Reference("tiny"), "other")
    assert "--precision" in (refused.value.fix or "")
    with pytest.raises(FailedPrecondition, match="merged:1 has no adapter to merge") as refused:
        merge_adapter(after, open_host(), Reference("merged"), "other")
    assert "--strategy lora" in (refused.value.fix or "")
    assert "other" not in after.names()


def test_a_merged_form_that_answers_otherwise_is_not_published(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here one layer of the adapter is forgotten; every other gate passes such weights."""
    from headstock.variant import merge

    def forgetful(module: Any, parameters: dict[str, Pair]) -> None:
        fold(module, dict(sorted(parameters.items())[1:]))

    monkeypatch.setattr(merge, "fold", forgetful)
    with pytest.raises(FailedPrecondition, match="would differ from the row form by"):
        merge_adapter(catalogue, open_host(), ADAPTED, "merged")
    assert catalogue.names() == ["adapted", "tiny"]


# -------------------------------------------------------------------------------------------------- keeping
def test_the_merged_model_stays_whole_when_what_it_was_made_from_is_collected(after: Catalogue) -> None:
    """It needs no blob of the adapter; gc takes that and nothing else, and verify is clean before and after."""
    before = _features(after, "merged")
    adapter = after.artefact(_identity(after, "adapted").adapter or "").files["parameters"]
    assert not after.verify().problems
    after.remove("adapted")
    after.remove("tiny")
    collected = after.gc()
    assert adapter in collected.blobs
    assert not after.verify().problems
    np.testing.assert_array_equal(_features(after, "merged"), before)


# ------------------------------------------------------------------------------------------------ the command
def test_the_command_prints_what_was_measured(catalogue: Catalogue) -> None:
    """Under the name of the model with `-merged`; `show` has the same."""
    environment = {"HEADSTOCK_HOME": str(catalogue.settings.home)}
    result = CliRunner().invoke(cli, ["variant", "adapted", "--merge-adapter", "--format", "json"], env=environment)
    assert result.exit_code == 0, result.output
    (record,) = json.loads(result.stdout)
    assert record["name"] == "adapted-merged"
    assert record["merged"]["model"] == "adapted:1"
    assert {"max_error", "scale"} == set(record["agreement"]["answers"])
    assert {"rows", "length", "plain_ms", "variant_ms", "ratio"} == set(record["speeds"][0])
    shown = CliRunner().invoke(cli, ["show", "adapted-merged"], env=environment).stdout
    assert f"answers  differs by at most {record['agreement']['answers']['max_error']:.3g}" in shown


@pytest.mark.parametrize(
    "more, said",
    [
        ([], "expected one of --precision and --merge-adapter"),
        (["--merge-adapter", "--precision", "fp16"], "expected one of --precision and --merge-adapter"),
        (["--merge-adapter", "--for", "cuda"], "--for is about a precision"),
    ],
)
def test_the_command_takes_a_precision_or_an_adapter(
    adapted_home: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], said: str
) -> None:
    from headstock.errors import InvalidInput

    monkeypatch.setenv("HEADSTOCK_HOME", str(adapted_home))
    result = CliRunner().invoke(cli, ["variant", "adapted", *more])
    assert isinstance(result.exception, InvalidInput)
    assert said in str(result.exception)
