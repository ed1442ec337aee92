"""Moving an alias while requests are served: no restart, no failed request, every answer names its version."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from headstock.catalogue import Catalogue
from headstock.names import Reference
from headstock.predictor import Predictor
from headstock.testing.toy import ToyHead, publish_model, publish_toy
from headstock_client import Client, ClientError, NotFound
from headstock_server.app import ServeOptions
from headstock_server.engine import EngineOptions
from headstock_server.testing import background_server

OPTIONS = ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=256))
TEXT = "great order thanks"


def logits(catalogue: Catalogue, number: int) -> np.ndarray:
    """What that version answers in this process."""
    predictor = Predictor.open(catalogue, Reference("sentiment", str(number)))
    return predictor.predict([TEXT]).outputs["logits"]


def wait_for(client: Client, version: str, selector: str = "", seconds: float = 10.0) -> None:
    """Until that version answers."""
    end = time.monotonic() + seconds
    while client.infer("sentiment", {"text": [TEXT]}, version=selector).model_version != version:
        assert time.monotonic() < end, f"version {version} never answered"
        time.sleep(0.02)


def test_promoting_under_load_fails_no_request_and_every_answer_is_its_versions_own(catalogue: Catalogue) -> None:
    """Back and forth between two versions while four callers ask."""
    toy = publish_toy(catalogue)
    catalogue.promote("sentiment", 1)
    publish_model(catalogue, "sentiment", toy.backbone, ToyHead(seed=9))
    expected = {str(n): logits(catalogue, n) for n in (1, 2)}
    answers: list[tuple[str, np.ndarray]] = []
    failures: list[ClientError] = []
    stop = threading.Event()

    def ask(client: Client) -> None:
        while not stop.is_set():
            try:
                result = client.infer("sentiment", {"text": [TEXT]})
                answers.append((result.model_version, result.outputs["logits"]))
            except ClientError as error:
                failures.append(error)

    with background_server(catalogue.settings, OPTIONS) as server, Client(server.address) as client:
        callers = [threading.Thread(target=ask, args=(client,)) for _ in range(4)]
        for caller in callers:
            caller.start()
        for number in (2, 1, 2):
            catalogue.promote("sentiment", number)
            wait_for(client, str(number))
        stop.set()
        for caller in callers:
            caller.join()
    assert not failures
    assert {version for version, _ in answers} == {"1", "2"}
    for version, values in answers:
        np.testing.assert_allclose(values, expected[version], atol=1e-5)
    assert not np.allclose(expected["1"], expected["2"])


def test_versions_are_addressed_by_number_and_alias(catalogue: Catalogue) -> None:
    """Whatever production is."""
    toy = publish_toy(catalogue)
    publish_model(catalogue, "sentiment", toy.backbone, ToyHead(seed=9))
    catalogue.promote("sentiment", 1)
    catalogue.promote("sentiment", 2, "canary")
    with background_server(catalogue.settings, OPTIONS) as server, Client(server.address) as client:
        versions = {
            selector: client.infer("sentiment", {"text": [TEXT]}, version=selector).model_version
            for selector in ("", "production", "canary", "1", "2")
        }
    assert versions == {"": "1", "production": "1", "canary": "2", "1": "1", "2": "2"}


def test_without_an_alias_the_newest_version_answers_also_when_it_comes_later(catalogue: Catalogue) -> None:
    """A fine-tune that ends while the server runs is served."""
    toy = publish_toy(catalogue)
    with background_server(catalogue.settings, OPTIONS) as server, Client(server.address) as client:
        assert client.infer("sentiment", {"text": [TEXT]}).model_version == "1"
        publish_model(catalogue, "sentiment", toy.backbone, ToyHead(seed=9))
        wait_for(client, "2")


def test_a_model_published_while_serving_answers_its_first_request(catalogue: Catalogue) -> None:
    """It is loaded on demand."""
    toy = publish_toy(catalogue)
    with background_server(catalogue.settings, OPTIONS) as server, Client(server.address) as client:
        with pytest.raises(NotFound):
            client.classify("urgency", [TEXT])
        publish_model(catalogue, "urgency", toy.backbone, ToyHead(labels=("low", "high"), seed=4))
        assert client.classify("urgency", [TEXT])[0].label in ("low", "high")


def test_a_version_that_cannot_load_leaves_the_one_before_it_serving(catalogue: Catalogue) -> None:
    """A promotion to something broken is not an outage."""
    toy = publish_toy(catalogue)
    catalogue.promote("sentiment", 1)
    broken = publish_model(catalogue, "sentiment", toy.backbone, ToyHead(seed=9))
    head = catalogue.artefact(broken.subject).identity["head"]
    path = catalogue.store.path(catalogue.artefact(head).files["parameters"])
    path.chmod(0o644)
    path.write_bytes(b"broken")
    with background_server(catalogue.settings, OPTIONS) as server, Client(server.address) as client:
        catalogue.promote("sentiment", 2)
        end = time.monotonic() + 10
        while not any(m.version == "2" and "holds other bytes" in m.reason for m in client.models()):
            assert time.monotonic() < end
            assert client.infer("sentiment", {"text": [TEXT]}).model_version == "1"
            time.sleep(0.02)
        assert client.infer("sentiment", {"text": [TEXT]}).model_version == "1"
