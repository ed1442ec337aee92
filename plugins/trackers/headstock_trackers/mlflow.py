"""Fine-tunes as MLflow keeps them: a run with the recipe as parameters and every figure as a metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headstock.hookspecs import FinetuneCallback
from headstock.records import BackboneIdentity
from headstock_trackers.recipe import run_name, settings

EXPERIMENT = "headstock"
_LONGEST = 500
"""Characters that every MLflow server takes as a parameter's value."""


class MLflowCallback(FinetuneCallback):
    """Tells the tracking server at `uri`; nothing of MLflow's own global state is touched."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._client: Any = None
        self._run = ""

    def on_start(self, recipe: Mapping[str, Any]) -> None:
        """Begin a run in the experiment `headstock`."""
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(tracking_uri=self._uri)
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        number = experiment.experiment_id if experiment else self._client.create_experiment(EXPERIMENT)
        self._run = self._client.create_run(number, run_name=run_name(recipe)).info.run_id
        for key, value in settings(recipe):
            self._client.log_param(self._run, key, str(value)[:_LONGEST])

    def on_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        """One point per figure."""
        for name, value in figures.items():
            if name != "epoch":
                self._client.log_metric(self._run, name, value, step=epoch)

    def on_end(self, identity: BackboneIdentity | None, report: Mapping[str, Any]) -> None:
        """The final metrics with their intervals; a run that failed is marked so, with the reason as a tag."""
        for metric in report.get("metrics", ()):
            for key in ("value", "low", "high"):
                self._client.log_metric(self._run, f"final.{metric['name']}.{key}", metric[key])
        if "failed" in report:
            self._client.set_tag(self._run, "headstock.failed", str(report["failed"])[:_LONGEST])
        self._client.set_terminated(self._run, "FAILED" if "failed" in report else "FINISHED")
