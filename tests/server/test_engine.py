"""The engine: one session per backbone, heads that come and go, and refusals of what does not belong together."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstock.backbone.isolation import certify
from headstock.catalogue import Catalogue
from headstock.digest import Digest
from headstock.errors import Corrupt, DigestMismatch, Unsupported
from headstock.records import Certificate, Version
from headstock.servable import ServableModel, load_model
from headstock.testing import toy
from headstock.testing.toy import MAX_LENGTH, Toy, ToyHead, publish_toy
from headstock_server.engine import Engine, EngineOptions, LoadedModel
from headstock_server.engine.budget import session_bytes
from headstock_server.engine.profile import DEFAULT_TOKENS, Point, choose
from headstock_server.scheduler.lane import Lane


def _servable(catalogue: Catalogue, version: Version) -> ServableModel:
    return load_model(catalogue, version)


def _answers(model: LoadedModel, *texts: str) -> np.ndarray:
    rows = model.backbone.preprocessor.rows(texts)
    features = model.backbone.infer(model.backbone.collate(rows), [model.group.tap])[model.group.tap]
    return model.group.run(features, np.full(len(rows), model.slot, np.intp))


def test_models_of_one_backbone_share_one_session(catalogue: Catalogue, toy: Toy, engine: Engine) -> None:
    first, second = (engine.load(_servable(catalogue, v)) for v in toy.models.values())
    assert first.backbone is second.backbone
    assert first.group is second.group
    assert first.slot != second.slot
    assert len(engine.backbones()) == 1


def test_a_loaded_model_computes_its_head_on_the_backbones_tap(catalogue: Catalogue, toy: Toy, engine: Engine) -> None:
    model = engine.load(_servable(catalogue, toy.models["sentiment"]))
    rows = model.backbone.preprocessor.rows(["refund my order", "great"])
    features = model.backbone.infer(model.backbone.collate(rows), ["mean"])
    assert list(features) == ["mean"]
    weight, bias = _parameters(ToyHead(seed=1))
    np.testing.assert_allclose(
        _answers(model, "refund my order", "great"), features["mean"] @ weight + bias, rtol=1e-4, atol=1e-5
    )


def test_a_graph_head_answers_what_the_linear_head_of_the_same_weights_answers(
    catalogue: Catalogue, toy: Toy, engine: Engine
) -> None:
    linear = _publish(catalogue, toy, "linear", ToyHead(seed=5))
    graph = _publish(catalogue, toy, "graph", ToyHead(seed=5, form="graph"))
    one, other = (engine.load(_servable(catalogue, v)) for v in (linear, graph))
    np.testing.assert_allclose(_answers(one, "late order"), _answers(other, "late order"), rtol=1e-5, atol=1e-6)


def test_the_last_reference_to_a_model_frees_its_slot_and_the_last_model_its_session(
    catalogue: Catalogue, toy: Toy, engine: Engine
) -> None:
    first, second = (engine.load(_servable(catalogue, v)) for v in toy.models.values())
    bank = first.backbone.bank("mean", 16, 2)
    assert len(bank) == 2
    del second
    gc.collect()
    assert len(bank) == 1
    del first
    gc.collect()
    assert engine.backbones() == []


def test_a_thousand_loads_and_unloads_reuse_one_slot(catalogue: Catalogue, toy: Toy, engine: Engine) -> None:
    stays = engine.load(_servable(catalogue, toy.models["sentiment"]))
    servable = _servable(catalogue, toy.models["intents"])
    slots = {engine.load(servable).slot for _ in range(1000)}
    assert len(slots) <= 2
    assert stays.backbone.bank("mean", 16, 2).capacity <= 4


def test_a_model_that_fails_half_way_gives_its_slot_back(
    catalogue: Catalogue, toy: Toy, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    stays = engine.load(_servable(catalogue, toy.models["sentiment"]))
    servable = _servable(catalogue, toy.models["intents"])

    def refuse(_: object) -> None:
        raise RuntimeError("no outputs")

    with monkeypatch.context() as patch:
        patch.setattr("headstock.postprocess.outputs", refuse)
        for _ in range(3):
            with pytest.raises(RuntimeError, match="no outputs"):
                engine.load(servable)
    assert len(stays.backbone.bank("mean", 16, 2)) == 1
    assert engine.load(servable).slot == 1


def test_nothing_is_remembered_of_a_backbone_that_left(catalogue: Catalogue, toy: Toy, engine: Engine) -> None:
    model = engine.load(_servable(catalogue, toy.models["sentiment"]))
    del model
    gc.collect()
    assert len(engine._loading) == 0
    assert engine.memory.report().residents == {}
    assert engine.memory._beside == {}


def test_a_graph_heads_session_is_counted_while_it_is_loaded(catalogue: Catalogue, toy: Toy, engine: Engine) -> None:
    stays = engine.load(_servable(catalogue, toy.models["sentiment"]))
    before = engine.memory.report().size
    servable = _servable(catalogue, _publish(catalogue, toy, "graph", ToyHead(seed=5, form="graph")))
    graph = engine.load(servable)
    assert graph.backbone is stays.backbone
    assert engine.memory.report().size == before + session_bytes(servable.parameters)
    del graph
    gc.collect()
    assert engine.memory.report().size == before


def test_a_measured_backbone_also_knows_what_long_rows_take(catalogue: Catalogue, toy: Toy) -> None:
    """Rows of one length per point, each longer than the one before, up to the longest that the tokenizer makes."""
    backbone = Engine(EngineOptions(profile_seconds=5.0)).load(_servable(catalogue, toy.models["sentiment"])).backbone
    alone = [longest for rows, longest, _ in backbone.measured if rows == 1]
    assert alone == sorted(set(alone))
    assert alone[-1] == MAX_LENGTH
    assert all(ns > 0 for _, _, ns in backbone.measured)
    assert Lane(backbone, 0).meter.pace.table.keys() >= {4, 6, 7}


def test_a_head_of_another_backbone_is_refused_with_both_digests(
    catalogue: Catalogue, toy: Toy, engine: Engine
) -> None:
    servable = _servable(catalogue, toy.models["sentiment"])
    other = Digest("sha256:" + "0" * 64)
    wrong = replace(servable, head=replace(servable.head, backbone=other))
    with pytest.raises(DigestMismatch) as caught:
        engine.load(wrong)
    assert other in caught.value.message
    assert toy.backbone.subject in caught.value.message


def test_a_head_with_other_weights_than_its_identity_says_is_refused(
    catalogue: Catalogue, toy: Toy, engine: Engine
) -> None:
    servable = _servable(catalogue, toy.models["sentiment"])
    with pytest.raises(Corrupt, match=r"expected finite weights of shape \[16, 3\]"):
        engine.load(replace(servable, head=replace(servable.head, out=3)))
    with pytest.raises(Corrupt, match="reads 32 features"):
        engine.load(replace(servable, head=replace(servable.head, width=32)))


def test_a_linear_head_on_a_tap_with_many_vectors_per_row_is_refused(
    catalogue: Catalogue, toy: Toy, engine: Engine
) -> None:
    version = _publish(catalogue, toy, "per-token", ToyHead(tap="tokens"))
    with pytest.raises(Unsupported, match="'tokens'"):
        engine.load(_servable(catalogue, version))


def test_a_backbone_that_was_refused_gets_a_private_lane(catalogue: Catalogue, toy: Toy, engine: Engine) -> None:
    servable = _servable(catalogue, toy.models["sentiment"])
    shared = engine.load(servable).backbone
    assert shared.shared
    assert shared.budget.rows > 1
    refused = replace(servable.backbone.certificate, shared=False)
    backbone = Engine(engine.options).load(replace(servable, backbone=_with(servable, refused))).backbone
    assert not backbone.shared
    assert backbone.budget.rows == 1


def test_a_lane_holds_no_more_rows_than_its_certificate_was_measured_with(
    catalogue: Catalogue, toy: Toy, engine: Engine
) -> None:
    servable = _servable(catalogue, toy.models["sentiment"])
    few = replace(servable.backbone.certificate, detail={"rows": 5})
    assert engine.load(replace(servable, backbone=_with(servable, few))).backbone.budget.rows == 5


@pytest.mark.parametrize("provider", [None, "CUDAExecutionProvider"])
def test_without_a_certificate_for_its_provider_the_session_itself_is_measured(
    catalogue: Catalogue, provider: str | None
) -> None:
    """An honest backbone shares then, up to the rows that were run; one that leaks runs its rows alone."""
    for leaky in (False, True):
        made = publish_toy(catalogue, {f"m-{leaky:d}": ToyHead()}, backbone=f"toy-{leaky:d}", leaky=leaky)
        servable = _servable(catalogue, made.models[f"m-{leaky:d}"])
        stated = servable.backbone.certificate
        other = None if provider is None else replace(stated, provider=provider, shared=True)
        backbone = (
            Engine(EngineOptions(token_budget=256)).load(replace(servable, backbone=_with(servable, other))).backbone
        )
        assert backbone.certificate.provider == "CPUExecutionProvider"
        assert backbone.shared is not leaky
        assert (backbone.certificate.measured == 0.0) is not leaky
        assert backbone.budget.rows == (1 if leaky else 64)


def test_what_was_measured_at_load_is_kept_for_that_graph_and_machine(
    catalogue: Catalogue, toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next start reads it; on another machine, or if it is damaged, it is measured again."""
    import headstock_server.engine.backbone as module
    import headstock_server.engine.certificates as kept

    options = EngineOptions(token_budget=256, certificates=tmp_path / "certificates")
    servable = _servable(catalogue, toy.models["sentiment"])
    servable = replace(servable, backbone=_with(servable, None))
    measured = []

    def counting(*arguments: Any, **options: Any) -> Certificate:
        measured.append(arguments)
        return certify(*arguments, **options)

    monkeypatch.setattr(module, "certify", counting)
    first = Engine(options).load(servable).backbone.certificate
    assert Engine(options).load(servable).backbone.certificate == first
    assert len(measured) == 1
    (file,) = options.certificates.iterdir()
    file.write_text(file.read_text()[:-10])
    assert Engine(options).load(servable).backbone.certificate == first
    assert len(measured) == 2
    monkeypatch.setattr(kept, "device_name", lambda _: "another processor")
    Engine(options).load(servable)
    assert len(measured) == 3
    assert len(list(options.certificates.iterdir())) == 2


def test_the_token_budget_is_profiled_unless_it_is_given(catalogue: Catalogue, toy: Toy, engine: Engine) -> None:
    servable = _servable(catalogue, toy.models["sentiment"])
    assert engine.load(servable).backbone.budget.tokens == 256
    measured = Engine(EngineOptions(profile_seconds=0.2)).load(servable).backbone.profile
    assert measured.points
    assert measured.tokens in {p.tokens for p in measured.points} | {DEFAULT_TOKENS}
    assert measured.token_ns > 0


@pytest.mark.parametrize(
    "rates, smallest, largest",
    [
        ({16: 100, 32: 110, 64: 120, 128: 160, 256: 162, 512: 161, 1024: 150}, 128, 512),
        ({16: 100, 32: 100, 64: 99}, 16, DEFAULT_TOKENS),
        ({16: 100, 32: 120}, DEFAULT_TOKENS, DEFAULT_TOKENS),
        ({16: 100, 32: 95, 64: 94}, 16, 16),
        ({16: 100}, DEFAULT_TOKENS, DEFAULT_TOKENS),
    ],
)
def test_the_budget_is_a_pass_that_reaches_nearly_the_best_rate(
    rates: dict[int, float], smallest: int, largest: int
) -> None:
    """A rate that still grows at the last point that fitted the time asks for at least the default."""
    points = [Point(t // 16, t, t / rate) for t, rate in rates.items()]
    assert choose(points, largest=False).tokens == smallest
    assert choose(points, largest=True).tokens == largest


def _with(servable: ServableModel, certificate: object) -> object:
    return replace(servable.backbone, certificate=certificate)


def _publish(catalogue: Catalogue, made: Toy, name: str, head: ToyHead) -> Version:
    return toy.publish_model(catalogue, name, made.backbone, head)


def _parameters(head: ToyHead) -> tuple[np.ndarray, np.ndarray]:
    return toy.linear_parameters(head, 16)
