"""The isolation certificate of the session that serves: the catalogue's, or measured at load and kept."""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from headstock.digest import digest_json
from headstock.records import Certificate

log = logging.getLogger("headstock.server")

_GPUS = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True, slots=True)
class Kept:
    """A folder of certificates that were measured at load; each holds for one graph, runtime, device and setting."""

    folder: Path | None

    def read(self, key: dict[str, object]) -> Certificate | None:
        """The certificate that was kept under exactly that key."""
        try:
            found = json.loads(self._path(key).read_text())
            return Certificate(**found["certificate"]) if found["key"] == key else None
        except (OSError, ValueError, KeyError, TypeError):
            # Missing or damaged: it is measured again.
            return None

    def write(self, key: dict[str, object], certificate: Certificate) -> None:
        """Keep it; a folder that cannot be written costs a measurement at the next start and no more."""
        if self.folder is None:
            return
        path = self._path(key)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(f".{os.getpid()}")
            part.write_text(json.dumps({"key": key, "certificate": asdict(certificate)}, indent=2))
            part.replace(path)
        except OSError as error:
            log.warning("the isolation certificate was measured and cannot be kept: %s", error.strerror)

    def _path(self, key: dict[str, object]) -> Path:
        if self.folder is None:
            return Path(os.devnull)
        return self.folder / f"{digest_json(key).removeprefix('sha256:')[:32]}.json"


def serving_certificate(
    known: Certificate | None,
    provider: str,
    rows: int,
    kept: Kept,
    key: dict[str, object],
    measure: Callable[[int], Certificate],
) -> Certificate:
    """The certificate for passes of up to `rows` rows on `provider`.

    `known`, the catalogue's, decides where it was refused or reaches far enough; on the CPU as far as it reaches.
    Otherwise the session itself is measured.
    """
    if known is not None and (not known.shared or known.rows >= rows or provider == "CPUExecutionProvider"):
        return known
    key = {**key, "provider": provider, "device": device_name(provider), "rows": rows, "runtime": _runtime()}
    found = kept.read(key)
    if found is None:
        found = measure(rows)
        kept.write(key, found)
    verdict = "rows share passes" if found.shared else "its rows run alone"
    log.info(
        "backbone %s on %s: a row moves by at most %.3g in company (allowed %.3g), up to %d rows: %s",
        found.backbone.removeprefix("sha256:")[:12], provider, found.measured, found.tolerance, found.rows, verdict,
    )  # fmt: skip
    return found


def device_name(provider: str) -> str:
    """The processor or GPU whose kernels were measured."""
    if provider != "CPUExecutionProvider":
        models = [p.read_text() for p in sorted(_GPUS.glob("*/information"))]
        return "; ".join(line.split(":", 1)[1].strip() for m in models for line in m.splitlines() if "Model:" in line)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _runtime() -> str:
    import onnxruntime

    version: str = onnxruntime.__version__
    return version
