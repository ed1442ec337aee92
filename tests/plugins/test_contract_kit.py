"""The contract kit finds what is wrong with a family or a head: each fault fails the check that is named for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headstock.backbone.export import export_graph
from headstock.data.inputs import RawInputs
from headstock.errors import InvalidInput
from headstock.hookspecs import (
    Batch,
    LayerGroup,
    LinearForm,
    Metric,
    SourceFiles,
    Studied,
    Targets,
    Terms,
    View,
)
from headstock.preprocess import Row
from headstock.records import Tap, TensorSpec
from headstock.testing import ObjectiveCase, check_family, check_head_type, check_objective, make_tiny_bert
from headstock.testing.objective_checks import OBJECTIVE_CHECKS
from headstock.testing.served_checks import check_served
from headstock_text.bert import BertFamily
from headstock_text.heads import TextClassification
from headstock_text.objectives.masked import MaskedLanguage


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> SourceFiles:
    """A tiny checkpoint."""
    folder = make_tiny_bert(tmp_path_factory.mktemp("kit") / "tiny", hidden=16, layers=1)
    return SourceFiles(folder, json.loads((folder / "config.json").read_text()), "path:tiny")


def changing(change: Callable[..., dict[str, torch.Tensor]]) -> BertFamily:
    """A family whose networks answer what `change` makes of them; it gets the network's own forward and the inputs."""

    class Faulty(BertFamily):
        def load(self, files: SourceFiles) -> torch.nn.Module:
            module = super().load(files)
            own = module.forward

            def forward(input_ids: Any, attention_mask: Any, token_type_ids: Any) -> dict[str, torch.Tensor]:
                return change(own, input_ids, attention_mask, token_type_ids)

            module.forward = forward
            return module

    return Faulty()


def faults(family: BertFamily, files: SourceFiles) -> dict[str, str]:
    """Failed checks and what they say."""
    return {r.check: r.detail for r in check_family(family, files) if not r.passed}


def test_padding_that_leaks_is_found(files: SourceFiles) -> None:
    """A mask that is ignored."""
    found = faults(changing(lambda net, ids, mask, types: net(ids, torch.ones_like(mask), types)), files)
    assert list(found) == ["padding"]
    assert "moves by" in found["padding"]


def test_rows_that_see_each_other_are_found(files: SourceFiles) -> None:
    """A mean over the batch, as batch normalisation in training mode has it."""

    def leak(net: Any, ids: Any, mask: Any, types: Any) -> dict[str, torch.Tensor]:
        taps = net(ids, mask, types)
        return {name: tap - 0.1 * tap.mean(dim=0, keepdim=True) for name, tap in taps.items()}

    assert "alone equals together" in faults(changing(leak), files)


def test_outputs_too_small_to_compare_are_found(files: SourceFiles) -> None:
    """Parity of denormals holds for any two functions."""
    tiny = changing(lambda net, *inputs: {k: v * 1e-30 for k, v in net(*inputs).items()})
    assert "smaller than 0.01" in faults(tiny, files)["taps"]


def test_taps_that_are_not_as_promised_are_found(files: SourceFiles) -> None:
    """Another shape, another order, another name."""

    class Wrong(BertFamily):
        promised: Sequence[Tap] = ()

        def taps(self, module: torch.nn.Module) -> Sequence[Tap]:
            return self.promised

    family = Wrong()
    family.promised = (Tap("tokens", (-1, -1, 99)), Tap("cls", (-1, 16)), Tap("mean", (-1, 16)))
    assert "taps() promises (-1, -1, 99)" in faults(family, files)["taps"]
    family.promised = (Tap("cls", (-1, 16)), Tap("tokens", (-1, -1, 16)), Tap("mean", (-1, 16)))
    assert "in this order" in faults(family, files)["taps"]


def test_groups_that_leave_out_share_or_reorder_parameters_are_found(files: SourceFiles) -> None:
    """Freezing acts on them, so each parameter has exactly one."""

    class Wrong(BertFamily):
        groups: Sequence[LayerGroup] = ()

        def layer_groups(self, module: torch.nn.Module) -> Sequence[LayerGroup]:
            return self.groups

    family = Wrong()
    embeddings, layer = LayerGroup("embeddings", ("bert.embeddings.",)), LayerGroup("layer.0", ("bert.encoder.",))
    family.groups = (embeddings,)
    assert "belongs to groups []" in faults(family, files)["layer groups"]
    family.groups = (LayerGroup("all", ("bert.",)), layer)
    assert "belongs to groups ['all', 'layer.0']" in faults(family, files)["layer groups"]
    family.groups = (layer, embeddings)
    assert "from input to output" in faults(family, files)["layer groups"]


def test_a_load_that_shrugs_at_a_missing_weight_is_found(files: SourceFiles) -> None:
    """The kit takes one away and expects a refusal."""

    class Lenient(BertFamily):
        def load(self, files: SourceFiles) -> torch.nn.Module:
            try:
                return super().load(files)
            except InvalidInput:
                return torch.nn.Linear(1, 1).eval()

    assert "accepted a checkpoint without" in faults(Lenient(), files)["strict"]


def test_a_module_in_training_mode_and_random_weights_are_found(files: SourceFiles) -> None:
    """Dropout on, or a layer that nobody loaded."""

    class Wrong(BertFamily):
        def load(self, files: SourceFiles) -> torch.nn.Module:
            module = super().load(files).train()
            module.extra = torch.nn.Linear(2, 2)
            return module

    found = faults(Wrong(), files)
    assert {"eval mode", "repeatable", "layer groups"} <= set(found)


def test_a_load_that_fails_is_one_result_and_no_exception(files: SourceFiles) -> None:
    """What cannot be checked is not reported as passed."""
    results = check_family(BertFamily(), SourceFiles(Path("nowhere"), files.config, "path:nowhere"))
    assert [r.check for r in results if r.passed] == ["recognises"]
    assert "model.safetensors" in results[1].detail
    assert {r.detail for r in results[2:]} == {"not reached: load() failed"}


class Wrong(TextClassification):
    """A head with one thing wrong, chosen by `fault`."""

    fault = ""

    def loss(self, head: torch.nn.Module, batch: Batch) -> torch.Tensor:
        loss = super().loss(head, batch)
        return loss * 0 + 1 if self.fault == "loss decreases" else loss

    def linear_form(self, head: torch.nn.Module) -> LinearForm:
        form = super().linear_form(head)
        return LinearForm(form.weight, form.bias + np.float32(0.01)) if self.fault == "served form" else form

    def metrics(self, outputs: np.ndarray, targets: Targets, seed: int) -> Sequence[Metric]:
        found = super().metrics(outputs, targets, seed)
        return found[1:] if self.fault == "metrics" else found

    def postprocess(self, targets: Targets, options: Mapping[str, Any]) -> Mapping[str, Any]:
        labels = ["one"] if self.fault == "postprocess" else list(targets.labels)
        return {"kind": "classification", "labels": labels}

    def encode(self, columns: Mapping[str, Sequence[Any]], labels: Sequence[str] | None = None) -> Targets:
        if self.fault == "refuses bad data" and set(columns["label"]) == {"same"}:
            return Targets(np.zeros(len(columns["label"]), dtype=np.int64), ("same",))
        return super().encode(columns, labels)


@pytest.mark.parametrize("fault", ["loss decreases", "served form", "metrics", "postprocess", "refuses bad data"])
def test_a_head_that_breaks_a_promise_fails_that_check_and_no_other(fault: str) -> None:
    """Every check can fail, and says so on its own."""
    head = Wrong()
    head.fault = fault
    assert [r.check for r in check_head_type(head) if not r.passed] == [fault]


class Careless(MaskedLanguage):
    """An objective with one thing wrong, chosen by `fault`."""

    fault = ""

    def __init__(self) -> None:
        self.steps = 0

    def default_options(self) -> Mapping[str, Any]:
        return {**super().default_options(), **({"most": float("nan")} if self.fault == "options" else {})}

    def pieces(self, studied: Studied, inputs: RawInputs) -> tuple[RawInputs, Sequence[int]]:
        found, owners = super().pieces(studied, inputs)
        return found, [0 for _ in owners] if self.fault == "pieces" else owners

    def build(self, studied: Studied, options: Mapping[str, Any]) -> torch.nn.Module:
        if self.fault == "refuses bad options":
            options = {**options, "masked": min(options["masked"], 0.5)}
        head = super().build(studied, options)
        if self.fault == "build":
            head.borrowed = next(studied.module.parameters())
        return head

    def view(
        self, studied: Studied, rows: Sequence[Row], options: Mapping[str, Any], random: np.random.Generator
    ) -> View:
        if self.fault == "view":
            np.random.shuffle(rows[0].tensors["input_ids"])
        if self.fault == "view by luck":
            random = np.random.default_rng(np.random.randint(1000))
        if self.fault == "frozen is frozen":
            studied.module.train()
        if self.fault == "frozen weights move":
            with torch.no_grad():
                next(studied.module.parameters()).mul_(0.999)
        return super().view(studied, rows, options, random)

    def terms(self, head: torch.nn.Module, batch: Batch, options: Mapping[str, Any]) -> Terms:
        found = super().terms(head, batch, options)
        self.steps += 1
        losses, hits = found.losses, found.hits
        match self.fault:
            case "terms":
                hits = losses
            case "terms of the head alone":
                losses = head(batch.features.detach())[:, 0].square().mean(dim=-1)
            case "loss decreases":
                losses = 2 * losses.detach() - losses
            case "repeatable":
                losses = losses * (1 + 0.1 * np.random.random())
            case "resumes":
                losses = losses / (1 + 0.01 * self.steps)
        return Terms(losses, hits, found.counts)


def lapses(fault: str, files: SourceFiles) -> dict[str, str]:
    """Checks that an objective with this fault fails, with what they say."""
    objective = Careless()
    objective.fault = fault
    case = ObjectiveCase("mlm", "bert", make_tiny_bert, refused={"masked": 1.5})
    return {r.check: r.detail for r in check_objective(objective, BertFamily(), files, case) if not r.passed}


def test_a_sound_objective_keeps_every_promise(files: SourceFiles) -> None:
    assert lapses("", files) == {}


@pytest.mark.parametrize(
    "fault, check, words",
    [
        ("refuses bad options", "refuses bad options", "accepted {'masked': 1.5}"),
        ("pieces", "pieces", "leaves out rows"),
        ("view", "view", "changed row 0"),
        ("view by luck", "view", "differs between two calls with equal generators"),
        ("terms", "terms", "hits of terms() have a gradient"),
        ("frozen is frozen", "frozen is frozen", "to training mode"),
        ("frozen weights move", "frozen is frozen", "changed the weights or statistics"),
        ("resumes", "resumes", "interrupted after epochs 1 and 5 ends with another result"),
    ],
)
def test_an_objective_that_breaks_a_promise_fails_that_check(
    fault: str, check: str, words: str, files: SourceFiles
) -> None:
    """And what follows from it, if anything does."""
    found = lapses(fault, files)
    assert next(iter(found)) == check
    assert words in found[check]


@pytest.mark.parametrize(
    "fault, fails, words",
    [
        ("options", None, "not JSON compliant"),
        ("build", None, "parameter 'borrowed' of the head is"),
        ("loss decreases", ["loss decreases", "repeatable", "resumes"], "expected at least 1% less"),
        ("repeatable", ["repeatable", "resumes"], "two trainings with one seed end with different"),
    ],
)
def test_what_stands_on_a_broken_promise_of_an_objective_is_not_reported_as_kept(
    fault: str, fails: Sequence[str] | None, words: str, files: SourceFiles
) -> None:
    """Options, head and training are needed for what comes after; luck that changes a run changes a resumed one too."""
    found = lapses(fault, files)
    assert words.lower() in found[fault].lower()
    assert list(found) == (fails or list(OBJECTIVE_CHECKS[OBJECTIVE_CHECKS.index(fault) :]))


def test_an_objective_from_which_the_backbone_learns_nothing_is_found(files: SourceFiles) -> None:
    """Its head learns, and is thrown away."""
    found = lapses("terms of the head alone", files)
    assert "do not depend on the features" in found["terms"]
    assert "layer group 'layer.0' was live and did not move" in found["frozen is frozen"]


class Recurrent(torch.nn.Module):
    """An LSTM, whose kernels torch's exporter swaps for others while it works."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(3, 4, batch_first=True)

    def forward(self, frames: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"tokens": self.lstm(frames)[0]}


def test_a_second_recurrent_network_in_one_process_is_exported_like_the_first(tmp_path: Path) -> None:
    """With its length still free: torch 2.13 alone would unroll the second one over its example."""
    module, example = Recurrent().eval(), {"frames": np.zeros((2, 5, 3), np.float32)}
    inputs, taps = [TensorSpec("frames", "FP32", (-1, -1, 3))], [Tap("tokens", (-1, -1, 4))]
    for name in ("one", "two"):
        export_graph(module, inputs, taps, example, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_an_export_that_differs_from_the_first_is_found(files: SourceFiles, tmp_path: Path) -> None:
    """Weights drawn anew at every load: the digest of what is served would never be the same."""

    class Fresh(BertFamily):
        def load(self, files: SourceFiles) -> torch.nn.Module:
            module = super().load(files)
            torch.nn.init.normal_(module.get_parameter(next(n for n, _ in module.named_parameters())))
            return module

    found = {r.check: r.detail for r in check_served(Fresh(), files, tmp_path) if not r.passed}
    assert list(found) == ["repeatable export"]
    assert "two exports of one checkpoint differ" in found["repeatable export"]


def test_a_graph_whose_rows_see_each_other_is_found(files: SourceFiles, tmp_path: Path) -> None:
    """By the certificate that a pull would write; the other checks go on."""

    def leak(net: Any, *inputs: Any) -> dict[str, torch.Tensor]:
        return {name: tap - 0.1 * tap.mean(dim=0, keepdim=True) for name, tap in net(*inputs).items()}

    found = {r.check: r.detail for r in check_served(changing(leak), files, tmp_path, repeat=False) if not r.passed}
    assert list(found) == ["served alone equals together"]
    assert "rows move in company" in found["served alone equals together"]


def test_a_network_that_cannot_be_exported_leaves_nothing_proved(files: SourceFiles, tmp_path: Path) -> None:
    """Control flow that depends on values."""

    def branch(net: Any, *inputs: Any) -> dict[str, torch.Tensor]:
        taps: dict[str, torch.Tensor] = net(*inputs)
        return {name: tap + 1 for name, tap in taps.items()} if taps["mean"].sum().item() > 0 else taps

    results = check_served(changing(branch), files, tmp_path)
    assert "cannot be exported to ONNX" in results[0].detail
    assert {r.detail for r in results[1:]} == {"not reached: there is no graph"}
