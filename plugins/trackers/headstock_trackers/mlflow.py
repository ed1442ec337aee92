"""Fine-tunes as MLflow keeps them: a run with the recipe as parameters and every figure as a metric."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

from headstock.hookspecs import FinetuneCallback
from headstock.records import BackboneIdentity
from headstock_trackers.recipe import run_name, settings

EXPERIMENT = "headstock"
_LONGEST = 500
"""Characters that every MLflow server takes as a parameter's value."""
_FAILED, _MACHINE = "headstock.failed", "headstock.machine"
"""Tags: why a run ended, and the machine whose runs folder can go on with it."""


class MLflowCallback(FinetuneCallback):
    """Tells the tracking server at `uri`; nothing of MLflow's own global state is touched."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._client: Any = None
        self._run = ""

    def on_start(self, recipe: Mapping[str, Any]) -> None:
        """Begin a run in the experiment `headstock`, or go on with this machine's that was killed or interrupted."""
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(tracking_uri=self._uri)
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        number = experiment.experiment_id if experiment else self._client.create_experiment(EXPERIMENT)
        name = run_name(recipe)
        self._run = self._unfinished(number, name) or self._begun(number, name)
        for key, value in settings(recipe):
            self._client.log_param(self._run, key, str(value)[:_LONGEST])

    def _begun(self, experiment: str, name: str) -> str:
        run: str = self._client.create_run(experiment, run_name=name, tags={_MACHINE: platform.node()}).info.run_id
        return run

    def _unfinished(self, experiment: str, name: str) -> str | None:
        """The run of the same recipe that did not end: its epochs go on where they are."""
        mine = f"attributes.run_name = '{name}' and tags.`{_MACHINE}` = '{platform.node()}'"
        wanted = f"{mine} and attributes.status != 'FINISHED'"
        for found in self._client.search_runs([experiment], filter_string=wanted, max_results=1):
            run: str = found.info.run_id
            self._client.update_run(run, status="RUNNING")
            if _FAILED in found.data.tags:
                self._client.delete_tag(run, _FAILED)
            return run
        return None

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
            self._client.set_tag(self._run, _FAILED, str(report["failed"])[:_LONGEST])
        self._client.set_terminated(self._run, "FAILED" if "failed" in report else "FINISHED")
