"""Starts the peers of `peers.py` on core 0, each in its own environment, with the models that are asked for."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import numpy as np

from _common import INFER, SERVER_CORE, Server, ids_request, pin
from _zoo import head_weight

SIDES = Path(__file__).with_name("_peers")
PATIENCE = 900.0
"""Seconds that a peer gets until all its models answer; nvidia-pytriton needs some 230 for a hundred."""
BATCH = {"max_batch_size": 32, "max_batch_time": 0.002}
"""MLServer's adaptive batching at its best for rows of one length; it fails on others, so `plain` has none."""


class Peer:
    """How one peer is started: its Python, and the models that it serves by the seed of their head."""

    def __init__(self, name: str, python: Path, graph: Path) -> None:
        """`name` is `mlserver` or `pytriton`."""
        self.name, self.python, self.graph = name, python, graph

    @contextmanager
    def serve(self, models: Mapping[str, int]) -> Iterator[Server]:
        """The peer with these models and `identity`, once every model has answered.

        A model named `batched` is MLServer's with adaptive batching; nvidia-pytriton batches all of them.
        """
        with tempfile.TemporaryDirectory(prefix=f"headstock-{self.name}-") as folder:
            ports = _ports()
            files = {name: self._files(Path(folder), seed) for name, seed in models.items()}
            command = getattr(self, f"_{self.name}")(Path(folder), files, ports)
            with _running(command, Path(folder), f"127.0.0.1:{ports['grpc_port']}", list(models)) as server:
                yield server

    def _files(self, folder: Path, seed: int) -> dict[str, str]:
        weight = folder / f"head-{seed}.npy"
        if not weight.exists():
            np.save(weight, head_weight(seed))
        return {"graph": str(self.graph), "weight": str(weight)}

    def _mlserver(self, folder: Path, files: Mapping[str, dict[str, str]], ports: Mapping[str, int]) -> list[str]:
        _write(folder / "settings.json", {"debug": False, "parallel_workers": 0, "host": "127.0.0.1", **ports})
        for name, extra in files.items():
            batching = BATCH if name == "batched" else {}
            settings = {"name": name, "implementation": "mlserver_model.Classifier", "parameters": {"extra": extra}}
            _write(folder / name / "model-settings.json", {**settings, **batching})
        _write(
            folder / "identity" / "model-settings.json",
            {"name": "identity", "implementation": "mlserver_model.Identity"},
        )
        return [str(self.python.with_name("mlserver")), "start", str(folder)]

    def _pytriton(self, folder: Path, files: Mapping[str, dict[str, str]], ports: Mapping[str, int]) -> list[str]:
        asked = json.dumps({"ports": ports, "models": files})
        return [str(self.python), str(SIDES / "pytriton_server.py"), asked]


def _write(path: Path, value: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


def _ports() -> dict[str, int]:
    sockets = {name: socket.socket() for name in ("grpc_port", "http_port", "metrics_port")}
    for each in sockets.values():
        each.bind(("127.0.0.1", 0))
    ports = {name: each.getsockname()[1] for name, each in sockets.items()}
    for each in sockets.values():
        each.close()
    return ports


@contextmanager
def _running(command: list[str], folder: Path, address: str, models: list[str]) -> Iterator[Server]:
    begin = time.perf_counter()
    log = folder / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, text=True, stdout=output, stderr=subprocess.STDOUT, cwd=folder, preexec_fn=pin(SERVER_CORE),
            env={**os.environ, "PYTHONPATH": str(SIDES)}, start_new_session=True,
        )  # fmt: skip
    try:
        for name in models:
            _wait(address, name, process, log, begin)
        yield Server(address, process, time.perf_counter() - begin)
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=60)
        # What it has started stands in its process group.
        if _alive(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(address: str, model: str, process: subprocess.Popen[str], log: Path, begin: float) -> None:
    """Ask a model until it answers."""
    request = ids_request(model, 8, 0)
    with grpc.insecure_channel(address) as channel:
        while True:
            try:
                channel.unary_unary(INFER)(request, timeout=30)
                return
            except grpc.RpcError as error:
                ended = process.poll() is not None
                if ended or time.perf_counter() - begin > PATIENCE:
                    tail = "\n".join(log.read_text().splitlines()[-20:])
                    why = "ended" if ended else f"did not answer in {PATIENCE:.0f} s"
                    raise SystemExit(
                        f"the peer {why} before model {model!r} answered ({error.code()}):\n{tail}"
                    ) from None
                time.sleep(0.1)


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
