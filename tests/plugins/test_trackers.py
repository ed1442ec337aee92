"""Trackers that a fine-tune is told to: which are there, what they are told, and that a failed run is told too."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("headstock_trackers")

from headstock.adaptation.adapt import adapt
from headstock.adaptation.plan import plan_adaptation
from headstock.adaptation.settings import settings as adaptation_settings
from headstock.catalogue import Catalogue
from headstock.errors import InvalidInput
from headstock.finetune import Observer, Options, fine_tune, plan_recipe, read_table
from headstock.hookspecs import FinetuneCallback
from headstock.names import Reference
from headstock.plugin_host import PluginHost, open_host
from headstock.settings import Settings
from headstock.testing.toy import publish_backbone
from headstock_trackers import plugin
from headstock_trackers.mlflow import MLflowCallback
from headstock_trackers.tensorboard import TensorBoardCallback


class Recorder:
    """Stands for a tracker's own object: remembers every call."""

    def __init__(self, *given: Any, **more: Any) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = [("open", (*given, *more.values()))]

    def __getattr__(self, name: str) -> Any:
        def call(*given: Any, **more: Any) -> Any:
            self.calls.append((name, (*given, *more.values())))
            if name in ("get_experiment_by_name", "search_runs"):
                return None if name == "get_experiment_by_name" else []
            return SimpleNamespace(info=SimpleNamespace(run_id="r1")) if name == "create_run" else "7"

        return call

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [given for called, given in self.calls if called == name]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Recorder]:
    """What the callbacks open, with stand-ins for the modules that they import."""
    made: list[Recorder] = []

    def make(*given: Any, **more: Any) -> Recorder:
        made.append(Recorder(*given, **more))
        return made[-1]

    for module, name in (("torch.utils.tensorboard", "SummaryWriter"), ("mlflow.tracking", "MlflowClient")):
        stand_in = ModuleType(module)
        setattr(stand_in, name, make)
        monkeypatch.setitem(sys.modules, module, stand_in)
    monkeypatch.setitem(sys.modules, "mlflow", ModuleType("mlflow"))
    return made


def grow(tmp_path: Path, tracker: FinetuneCallback, observer: Observer | None = None) -> Mapping[str, Any]:
    """The report of a small fine-tune that `tracker` is told of."""

    class Host(PluginHost):
        def callbacks(self) -> list[FinetuneCallback]:
            return [tracker]

    lines = [f"w{i} {'great' if i % 2 else 'bad'},{i % 2}" for i in range(40)]
    (tmp_path / "rows.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    settings = Settings.from_environment({"HEADSTOCK_HOME": str(tmp_path / "home")})
    with Catalogue.open(settings) as catalogue:
        publish_backbone(catalogue)
        host, table = open_host(settings), read_table(tmp_path / "rows.csv")
        host.__class__ = Host
        options = Options(epochs=3, patience=0)
        recipe = plan_recipe(catalogue, host, table, Reference("toy"), "text-classification", options)
        return fine_tune(catalogue, host, recipe, table, "tracked", observer=observer).report


# ------------------------------------------------------------------------------------------------ which
def test_only_what_is_installed_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = Settings.from_environment({"HEADSTOCK_HOME": str(tmp_path)})
    monkeypatch.setattr(plugin, "find_spec", lambda name: object() if name == "mlflow" else None)
    assert plugin.installed() == ["mlflow"]
    (only,) = plugin.trackers(settings, {})
    assert isinstance(only, MLflowCallback)
    assert plugin.trackers(settings, {plugin.WANTED: "none"}) == []
    with pytest.raises(InvalidInput, match="not installed") as error:
        plugin.trackers(settings, {plugin.WANTED: "tensorboard"})
    assert error.value.fix == "pip install 'headstock[tensorboard]'"
    with pytest.raises(InvalidInput, match="expected some of tensorboard, mlflow"):
        plugin.trackers(settings, {plugin.WANTED: "wandb"})


def test_reading_the_hook_imports_no_tracker(tmp_path: Path) -> None:
    import subprocess

    code = (
        "import headstock_trackers.plugin as p; p.finetune_callbacks(); "
        "print({'torch', 'mlflow', 'tensorboard'} & {*sys.modules})"
    )
    path = [str(Path(plugin.__file__).parents[1]), *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {path!r}; {code}"],
        capture_output=True, text=True, check=True, env={"HEADSTOCK_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout == "set()\n"


# ------------------------------------------------------------------------------------------------ what they are told
def test_tensorboard_is_told_a_point_per_figure_and_epoch_and_the_final_metrics(
    opened: list[Recorder], tmp_path: Path
) -> None:
    report = grow(tmp_path, TensorBoardCallback(tmp_path / "boards"))
    (writer,) = opened
    assert str(writer.calls[0][1][0]).startswith(str(tmp_path / "boards" / "toy-feature-extraction-"))
    points = {(name, epoch) for name, _, epoch in writer.named("add_scalar")}
    for figure in ("loss", "accuracy", "rows_per_second", "peak_memory_bytes"):
        assert {(figure, epoch) for epoch in (1, 2, 3)} <= points
    final = {name: value for name, value, _ in writer.named("add_scalar") if name.startswith("final/")}
    assert final["final/accuracy/value"] == report["metrics"][0]["value"]
    assert writer.calls[-1] == ("close", ())


def test_an_adaptation_is_a_curve_for_each_method_and_seed(tmp_path: Path) -> None:
    """And one that is stopped is told as failed."""
    heard: list[tuple[str, Any]] = []

    class Tracker(FinetuneCallback):
        def on_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
            heard.extend((name, epoch) for name in figures if name.endswith("/loss"))
            if epoch == stopped:
                raise KeyboardInterrupt

        def on_end(self, identity: Any, report: Mapping[str, Any]) -> None:
            heard.append(("end", report.get("failed", report.get("strategy"))))

    class Host(PluginHost):
        def callbacks(self) -> list[FinetuneCallback]:
            return [Tracker()]

    words = [f"w{i} {'great' if i % 2 else 'bad'}" for i in range(40)]
    (tmp_path / "old.csv").write_text("text,label\n" + "".join(f"{word},{i % 2}\n" for i, word in enumerate(words)))
    (tmp_path / "new.csv").write_text("text\n" + "".join(f"so {word}\n" for word in words))
    settings = Settings.from_environment({"HEADSTOCK_HOME": str(tmp_path / "home")})
    with Catalogue.open(settings) as catalogue:
        publish_backbone(catalogue)
        host = open_host(settings)
        host.__class__ = Host
        old, new = (read_table(tmp_path / name) for name in ("old.csv", "new.csv"))
        course = adaptation_settings(epochs=2)
        head, options = "text-classification", Options()
        recipe = plan_adaptation(
            catalogue, host, old, new, Reference("toy"), head, options, methods=("coral",), runs=1, settings=course
        )
        stopped = 2
        with pytest.raises(KeyboardInterrupt):
            adapt(catalogue, host, recipe, old, new, "moved")
        stopped = 0
        adapt(catalogue, host, recipe, old, new, "moved")
    first, rest = heard[:3], heard[3:]
    assert first == [("source-only-0/loss", 1), ("source-only-0/loss", 2), ("end", "KeyboardInterrupt: ")]
    assert rest[:2] == [("coral-0/loss", 1), ("coral-0/loss", 2)]
    assert rest[2][0] == "end"
    assert rest[2][1].startswith("adaptation: ")


def test_mlflow_gets_the_recipe_as_parameters_and_an_end(opened: list[Recorder], tmp_path: Path) -> None:
    report = grow(tmp_path, MLflowCallback("sqlite:///x.db"))
    (client,) = opened
    assert client.calls[0] == ("open", ("sqlite:///x.db",))
    parameters = {key: value for _, key, value in client.named("log_param")}
    assert parameters["backbone.name"] == "toy"
    assert parameters["strategy.phases.0.epochs"] == "3"
    losses = [(value, step) for _, name, value, *rest in client.named("log_metric") if name == "loss" for step in rest]
    assert [step for _, step in losses] == [1, 2, 3]
    assert client.named("set_terminated") == [("r1", "FINISHED")]
    assert report["epochs"]["run"] == 3


def test_a_run_that_fails_is_told_with_its_reason(opened: list[Recorder], tmp_path: Path) -> None:
    class Stop(Observer):
        def epoch(self, figures: Mapping[str, Any]) -> None:
            raise KeyboardInterrupt("enough")

    with pytest.raises(KeyboardInterrupt):
        grow(tmp_path, MLflowCallback("sqlite:///x.db"), Stop())
    (client,) = opened
    assert client.named("set_tag") == [("r1", "headstock.failed", "KeyboardInterrupt: enough")]
    assert client.named("set_terminated") == [("r1", "FAILED")]


# ------------------------------------------------------------------------------------------------ the real thing
def test_tensorboard_reads_back_what_was_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    grow(tmp_path, TensorBoardCallback(tmp_path / "boards"))
    (folder,) = (tmp_path / "boards").iterdir()
    events = EventAccumulator(str(folder))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3]


# MLflow's own tables, under a newer SQLAlchemy than they were written for.
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
def test_mlflow_reads_back_what_was_written_and_an_interrupted_run_goes_on_in_its_own(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    class Stop(Observer):
        def epoch(self, figures: Mapping[str, Any]) -> None:
            raise KeyboardInterrupt("enough")

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(tracking_uri=uri)

    def only() -> Any:
        (run,) = client.search_runs([client.get_experiment_by_name("headstock").experiment_id])
        return run

    with pytest.raises(KeyboardInterrupt):
        grow(tmp_path, MLflowCallback(uri), Stop())
    assert (only().info.status, only().data.tags["headstock.failed"]) == ("FAILED", "KeyboardInterrupt: enough")
    report = grow(tmp_path, MLflowCallback(uri))
    run = only()
    assert (run.info.status, "headstock.failed" in run.data.tags) == ("FINISHED", False)
    assert run.data.params["backbone.name"] == "toy"
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == [1, 2, 3]
    assert run.data.metrics["final.accuracy.value"] == report["metrics"][0]["value"]
